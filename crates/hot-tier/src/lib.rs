//! hot-tier
