mod dedupe;
mod failure;
mod merge;
mod remote;
mod scan;
mod seal;
mod world;
