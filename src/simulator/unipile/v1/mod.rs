//! Version 1: read from Unipile's own copy, always by cursor, with flags that are 0 or 1.

use axum::Router;

use crate::simulator::world::World;

pub(super) fn routes() -> Router<World> {
    Router::new()
}
