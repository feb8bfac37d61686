//! warm-tier
