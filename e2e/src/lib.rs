//! The product from outside: the tests in `tests/it` start the real programs and the real servers
//! and look only at what a user sees. The programs are built first by `cargo xtask test`.
