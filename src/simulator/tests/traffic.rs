use std::collections::HashMap;

use super::*;
use crate::simulator::traffic::{Choices, Step};

fn steps(seed: u64, conversations: usize, count: usize) -> Vec<Step> {
    let traffic = Traffic { messages_per_minute: 60.0, outbound_share: 0.25 };
    let mut choices = Choices::new(seed, traffic);
    (0..count).map(|_| choices.next(conversations).unwrap()).collect()
}

#[test]
fn same_seed_makes_the_same_traffic_and_another_seed_other_traffic() {
    assert_eq!(steps(1, 100, 1000), steps(1, 100, 1000));
    assert_ne!(steps(1, 100, 1000), steps(2, 100, 1000));
}

#[test]
fn rate_and_outbound_share_hold_on_average() {
    let steps = steps(3, 100, 50_000);
    let seconds: f64 = steps.iter().map(|step| step.pause.as_secs_f64()).sum();
    assert!((45_000.0..55_000.0).contains(&seconds), "{seconds}");
    let outbound = steps.iter().filter(|step| step.outbound).count();
    assert!((11_500..13_500).contains(&outbound), "{outbound}");
}

#[test]
fn few_conversations_are_hot_and_most_sleep() {
    let mut counts = HashMap::new();
    let steps = steps(5, 1000, 2000);
    for step in &steps {
        *counts.entry(step.conversation).or_insert(0) += 1;
    }
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let hot: usize = counts.iter().take(50).sum();
    assert!(hot > 1000, "the 50 hottest have {hot} of 2000");
    assert!(counts.len() < 700, "{} of 1000 moved", counts.len());
}

#[test]
fn the_chance_to_move_falls_with_the_age() {
    // Age in messages since the last one of the same conversation.
    let mut last = HashMap::new();
    let mut ages = [0u32; 4];
    for (now, step) in steps(7, 1000, 20_000).iter().enumerate() {
        if let Some(before) = last.insert(step.conversation, now) {
            let decade = ((now - before) as f64).log10() as usize;
            ages[decade.min(3)] += 1;
        }
    }
    // Per message of age: each decade is ten times as wide as the one before.
    let density = [0, 1, 2].map(|n| f64::from(ages[n]) / 10f64.powi(n as i32));
    assert!(density[0] > 5.0 * density[1] && density[1] > 3.0 * density[2], "{density:?}");
}

#[tokio::test]
async fn dropping_the_handle_ends_the_traffic() {
    let world = World::new(Settings::default());
    let traffic = Traffic { messages_per_minute: 600_000.0, outbound_share: 0.0 };
    let handle = world.start_traffic(traffic);
    // Begun before there is a conversation, it waits for one.
    world.add_conversation(Dialect::ConnectSafely, Kind::Standard, "Ada Byron");
    while world.ledger().len() < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    handle.stop();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let count = world.ledger().len();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(world.ledger().len(), count);
}
