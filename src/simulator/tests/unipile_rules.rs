//! What Unipile's cache and limiter do over time, on times that are made up.

use axum::http::HeaderMap;

use super::*;
use crate::simulator::unipile::{Cache, Control, Left, Pace};

fn control(value: &'static str) -> Control {
    let mut headers = HeaderMap::new();
    headers.insert("cache-control", value.parse().unwrap());
    Control::of(&headers)
}

fn secs(secs: i64) -> UnixMillis {
    at(1_760_000_000_000 + secs * 1000)
}

#[test]
fn a_copy_is_served_for_an_hour_and_no_longer() {
    let mut cache = Cache::default();
    let any = Control::default();
    cache.keep("/a", b"one", any, secs(0));
    assert_eq!(cache.copy("/a", any, secs(3599)), Some((b"one".to_vec(), Duration::from_secs(3599))));
    assert_eq!(cache.copy("/a", any, secs(3600)), None);
    assert_eq!(cache.copy("/b", any, secs(0)), None);
}

#[test]
fn no_cache_refreshes_the_copy_no_store_leaves_it_and_max_age_bounds_it() {
    let mut cache = Cache::default();
    let any = Control::default();
    cache.keep("/a", b"one", any, secs(0));
    assert_eq!(cache.copy("/a", control("no-cache"), secs(1)), None);
    assert_eq!(cache.copy("/a", control("No-Store"), secs(1)), None);
    cache.keep("/a", b"two", control("no-store"), secs(1));
    assert_eq!(cache.copy("/a", any, secs(2)).unwrap().0, b"one");
    cache.keep("/a", b"three", control("no-cache"), secs(10));
    assert_eq!(cache.copy("/a", any, secs(10)).unwrap().0, b"three");
    assert_eq!(cache.copy("/a", control("private, max-age=5"), secs(15)).unwrap().0, b"three");
    assert_eq!(cache.copy("/a", control("max-age=5"), secs(16)), None);
    assert_eq!(cache.copy("/a", control("max-age=soon"), secs(16)).unwrap().0, b"three");
}

#[test]
fn a_window_is_fixed_begins_with_the_first_request_and_is_each_endpoints_own() {
    let mut pace = Pace::default();
    let left = |spent, remaining, reset| Left { spent, limit: 2, remaining, reset };
    let mut take = |endpoint, now| pace.take(endpoint, 2, now);
    assert_eq!(take(Endpoint::UnipileMessages, secs(0)), left(false, 1, 60));
    assert_eq!(take(Endpoint::UnipileMessages, secs(50)), left(false, 0, 10));
    assert_eq!(take(Endpoint::UnipileMessages, secs(50) + Duration::from_millis(1)), left(true, 0, 10));
    assert_eq!(take(Endpoint::UnipileInboxChats, secs(51)), left(false, 1, 60));
    assert_eq!(take(Endpoint::UnipileMessages, secs(60)), left(false, 1, 60));
}
