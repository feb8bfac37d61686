mod events;
mod sql;
mod tail;
mod tiers;
mod world;
