//! cold-tier
