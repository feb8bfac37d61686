//! hot-writer
