//! What this process has seen of the leases, by its own monotonic time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use journal::lease::{Lease, NODE};
use tokio::time::Instant;

/// A node whose beat stands still for this long is gone.
pub(super) const SILENT: Duration = Duration::from_secs(4);
/// A node that has its share of lanes leaves a free one to the others for so long.
const LEFT_TO_OTHERS: Duration = Duration::from_secs(1);
/// A lane that this process has read as compared counts as compared for so long, while it moves to another node. It was compared. The
/// database can't have been replaced by an older copy meanwhile: some read would have failed, and then nothing is
/// remembered.
const COMPARED_FOR: Duration = Duration::from_secs(10);
/// A process whose beat stands still for this long does not come back. If it does, it has lost its own lease and ends.
const ENDED: Duration = Duration::from_secs(600);

/// What this process has seen of the leases.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Each lease, and since when it has not changed.
    leases: BTreeMap<String, (Lease, Instant)>,
    /// Units that never had an owner, and since when they are wanted.
    new: BTreeMap<String, Instant>,
    /// Units whose beats have changed before the eyes of this process.
    beating: BTreeSet<String>,
    /// Node and network: since when the node says that it serves the network.
    serving: BTreeMap<(String, String), Instant>,
    /// Units that were compared in reads which all succeeded, and when that was seen last.
    compared: BTreeMap<String, Instant>,
}

impl Seen {
    /// After an answer.
    pub(super) fn record(&mut self, leases: Vec<Lease>, now: Instant) {
        let mut before = std::mem::take(&mut self.leases);
        let mut serving = BTreeMap::new();
        for lease in leases {
            let since = match before.remove(&lease.unit) {
                Some((known, since)) if known == lease => since,
                Some((known, _)) => {
                    if known.epoch == lease.epoch && known.beat != lease.beat {
                        self.beating.insert(lease.unit.clone());
                    } else if known.epoch != lease.epoch {
                        self.beating.remove(&lease.unit);
                    }
                    now
                }
                None => now,
            };
            if is_node(&lease) {
                for network in lease.serves.iter().flatten() {
                    let key = (lease.node.clone(), network.clone());
                    let since = self.serving.get(&key).copied().unwrap_or(now);
                    serving.insert(key, since);
                }
            }
            self.leases.insert(lease.unit.clone(), (lease, since));
        }
        self.serving = serving;
    }

    /// After no answer: nobody is judged by the time that passed.
    pub(super) fn record_failure(&mut self) {
        self.leases.clear();
        self.serving.clear();
        self.compared.clear();
    }

    fn is_silent(&self, unit: &str, now: Instant) -> bool {
        self.leases
            .get(unit)
            .is_some_and(|(_, since)| now.saturating_duration_since(*since) >= SILENT)
    }

    /// Units that a node which lives has compared with the chain, now or a moment ago. One that was never seen to change its
    /// beat does not count: in a database that was restored its owner is not there any more.
    pub(super) fn compared(&mut self, now: Instant) -> BTreeSet<String> {
        let leases = self.leases.iter().filter(|(unit, (lease, _))| {
            lease.is_compared && self.beating.contains(*unit) && !self.is_silent(unit, now)
        });
        let compared: Vec<String> = leases.map(|(unit, _)| unit.clone()).collect();
        self.compared.extend(compared.into_iter().map(|unit| (unit, now)));
        self.compared
            .retain(|_, seen| now.saturating_duration_since(*seen) < COMPARED_FOR);
        self.compared.keys().cloned().collect()
    }

    /// Whether a unit may be taken: it has no owner, or its owner is gone.
    pub(super) fn is_free(&self, unit: &str, now: Instant) -> bool {
        match self.leases.get(unit) {
            None => true,
            Some((lease, _)) => lease.node.is_empty() || self.is_silent(unit, now),
        }
    }

    /// Whether another node that lives owns it.
    pub(super) fn is_held_by_another(&self, own: &str, unit: &str, now: Instant) -> bool {
        let is_other = self.lease(unit).is_some_and(|lease| lease.node != own);
        is_other && !self.is_free(unit, now)
    }

    /// Whether it has been free for so long that a node takes it beyond its share, or after it gave it up.
    pub(super) fn is_left_over(&mut self, unit: &str, now: Instant, longer: Duration) -> bool {
        let (silent, since) = match self.leases.get(unit) {
            None => (Duration::ZERO, *self.new.entry(unit.to_owned()).or_insert(now)),
            Some((lease, since)) if lease.node.is_empty() => (Duration::ZERO, *since),
            Some((_, since)) => (SILENT, *since),
        };
        let after = silent.saturating_add(LEFT_TO_OTHERS).saturating_add(longer);
        now.saturating_duration_since(since) >= after
    }

    pub(super) fn lease(&self, unit: &str) -> Option<&Lease> {
        self.leases.get(unit).map(|(lease, _)| lease)
    }

    /// Nodes that live. Whether this process is among them depends on its own lease.
    fn living(&self, now: Instant) -> impl Iterator<Item = &Lease> {
        let nodes = self.leases.values().map(|(lease, _)| lease);
        nodes.filter(move |lease| is_node(lease) && !self.is_silent(&lease.unit, now))
    }

    /// How many nodes may take lanes of a network: those that live and do not say that they can't serve it. At least 1.
    pub(super) fn may_serve(&self, network: &str, now: Instant) -> usize {
        let nodes = self.living(now).filter(|lease| {
            let serves = lease.serves.as_ref();
            serves.is_none_or(|networks| networks.contains(network))
        });
        nodes.count().max(1)
    }

    /// How many nodes other than this one live and have said for so long that they serve a network.
    pub(super) fn others_serve(&self, own: &str, network: &str, now: Instant, long: Duration) -> usize {
        let nodes = self.living(now).filter(|lease| {
            let since = self.serving.get(&(lease.node.clone(), network.to_owned()));
            lease.node != own && since.is_some_and(|since| now.saturating_duration_since(*since) >= long)
        });
        nodes.count()
    }

    /// The networks that other nodes which live say they serve, each with the node.
    pub(super) fn served_elsewhere(&self, own: &str, now: Instant) -> BTreeSet<(String, String)> {
        let others = self.living(now).filter(|lease| lease.node != own);
        let served = others.flat_map(|lease| {
            let networks = lease.serves.iter().flatten();
            networks.map(move |network| (lease.node.clone(), network.clone()))
        });
        served.collect()
    }

    /// Whether another node that lives has said for so long that it serves all of these networks and one more.
    pub(super) fn another_serves_more(
        &self,
        own: &str,
        networks: &BTreeSet<String>,
        now: Instant,
        long: Duration,
    ) -> bool {
        self.living(now).filter(|lease| lease.node != own).any(|lease| {
            let since = |network: &String| self.serving.get(&(lease.node.clone(), network.clone()));
            let steady = |network: &String| {
                since(network).is_some_and(|since| now.saturating_duration_since(*since) >= long)
            };
            let theirs = lease.serves.iter().flatten().filter(|network| steady(network));
            let theirs: BTreeSet<&String> = theirs.collect();
            networks.iter().all(|network| theirs.contains(network)) && theirs.len() > networks.len()
        })
    }

    /// Lanes whose owners live, are other nodes, and do not say that they can't serve the network.
    pub(super) fn served_by_others(&self, own: &str, now: Instant) -> BTreeSet<String> {
        let nodes: BTreeMap<&str, &Lease> = self
            .living(now)
            .map(|lease| (lease.node.as_str(), lease))
            .collect();
        let served = self.leases.values().filter(|(lease, _)| {
            let network = network_of(&lease.unit);
            let serves = nodes.get(lease.node.as_str()).map(|node| &node.serves);
            lease.node != own
                && network.is_some_and(|network| {
                    serves.is_some_and(|serves| serves.as_ref().is_none_or(|serves| serves.contains(network)))
                })
        });
        served.map(|(lease, _)| lease.unit.clone()).collect()
    }

    /// Lanes that have had no owner that lives for so long.
    pub(super) fn orphaned(&self, now: Instant, long: Duration) -> Vec<String> {
        let orphaned = self.leases.values().filter(|(lease, since)| {
            network_of(&lease.unit).is_some()
                && self.is_free(&lease.unit, now)
                && now.saturating_duration_since(*since) >= long
        });
        orphaned.map(|(lease, _)| lease.unit.clone()).collect()
    }

    /// Leases of processes that ended.
    pub(super) fn ended(&self, now: Instant) -> Vec<Lease> {
        let ended = self.leases.values().filter(|(lease, since)| {
            lease.unit.starts_with(NODE)
                && (lease.node.is_empty() || now.saturating_duration_since(*since) >= ENDED)
        });
        ended.map(|(lease, _)| lease.clone()).collect()
    }
}

/// Whether it is the lease of a node itself, which has not given it up.
fn is_node(lease: &Lease) -> bool {
    lease.unit.starts_with(NODE) && !lease.node.is_empty()
}

/// The network of a lane's unit; `None`: the unit is no lane. Networks have a colon.
pub(super) fn network_of(unit: &str) -> Option<&str> {
    let (network, _) = unit.split_once('|')?;
    network.contains(':').then_some(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(unit: &str, node: &str, beat: u64) -> Lease {
        Lease {
            unit: unit.into(),
            node: node.into(),
            epoch: 1,
            beat,
            is_compared: false,
            is_indexed: true,
            serves: None,
        }
    }

    fn serving(node: &str, beat: u64, networks: &[&str]) -> Lease {
        Lease {
            serves: Some(networks.iter().map(|network| (*network).to_owned()).collect()),
            ..lease(&format!("{NODE}{node}"), node, beat)
        }
    }

    const NO: Duration = Duration::ZERO;

    #[test]
    fn a_node_is_gone_after_its_beat_stood_still_in_reads_that_all_succeeded() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut seen = Seen::default();
        assert!(seen.is_free("lane", start), "nobody has it");
        seen.record(vec![lease("lane", "a", 1), lease("node|a", "a", 1)], at(0));
        seen.record(vec![lease("lane", "a", 2), lease("node|a", "a", 2)], at(4));
        assert!(!seen.is_free("lane", at(7)));
        assert_eq!(seen.may_serve("n:1", at(7)), 1);
        assert!(seen.is_free("lane", at(8)));
        assert!(!seen.is_left_over("lane", at(8), NO));
        assert!(seen.is_left_over("lane", at(9), NO));
        assert!(!seen.is_left_over("lane", at(9), SILENT));
        // The database did not answer: nobody could show that it lives.
        seen.record_failure();
        seen.record(vec![lease("lane", "a", 2)], at(60));
        assert!(!seen.is_free("lane", at(63)));
        assert!(seen.is_free("lane", at(64)));
        seen.record(vec![lease("lane", "", 3)], at(66));
        assert!(seen.is_free("lane", at(66)), "it was given up");
    }

    #[test]
    fn a_lane_counts_as_compared_while_it_moves_and_not_after_a_read_that_failed() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let compared = |epoch, beat| Lease {
            epoch,
            is_compared: true,
            ..lease("lane", "a", beat)
        };
        let moving = |epoch, beat| Lease {
            epoch,
            ..lease("lane", "b", beat)
        };
        let is_compared = |seen: &mut Seen, second| seen.compared(at(second)).contains("lane");
        let mut seen = Seen::default();
        seen.record(vec![compared(1, 1)], at(0));
        assert!(!is_compared(&mut seen, 0), "its beat was never seen to change");
        seen.record(vec![compared(1, 2)], at(1));
        assert!(is_compared(&mut seen, 1));
        // It is given up and taken, and its new owner has not compared it yet.
        for (second, epoch, beat) in [(2, 1, 3), (3, 2, 0), (10, 2, 7)] {
            seen.record(vec![moving(epoch, beat)], at(second));
            assert!(is_compared(&mut seen, second), "{second}");
        }
        seen.record(vec![moving(2, 8)], at(11));
        assert!(!is_compared(&mut seen, 11), "this takes too long");
        seen.record(vec![compared(2, 9)], at(12));
        assert!(is_compared(&mut seen, 12));
        seen.record(vec![moving(3, 0)], at(13));
        assert!(is_compared(&mut seen, 13));
        // The database may have been replaced.
        seen.record_failure();
        seen.record(vec![moving(3, 0)], at(14));
        assert!(!is_compared(&mut seen, 14));
    }

    #[test]
    fn nodes_that_are_silent_or_left_or_can_not_serve_the_network_do_not_count() {
        let start = Instant::now();
        let mut seen = Seen::default();
        let all = |beat| {
            vec![
                lease("node|a", "a", beat),
                lease("node|b", "", 1),
                lease("node|c", "c", 1),
                serving("d", beat, &["n:1"]),
                serving("e", beat, &[]),
            ]
        };
        seen.record(all(1), start);
        assert_eq!(seen.may_serve("n:1", start), 3, "a, c, d");
        seen.record(all(2), start + SILENT);
        assert_eq!(seen.may_serve("n:1", start + SILENT), 2, "a, d");
        assert_eq!(seen.may_serve("n:2", start + SILENT), 1, "a");
    }

    #[test]
    fn a_node_counts_as_serving_once_it_has_said_so_without_a_break() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let long = Duration::from_secs(3);
        let mut seen = Seen::default();
        let one = BTreeSet::from(["n:1".to_owned()]);
        for (second, networks, serves) in [
            (0, &["n:1", "n:2"][..], 0),
            (3, &["n:1", "n:2"], 1),
            (4, &[], 0),
            (5, &["n:1", "n:2"], 0),
            (8, &["n:1", "n:2"], 1),
        ] {
            seen.record(vec![serving("b", second, networks)], at(second));
            assert_eq!(
                seen.others_serve("a", "n:1", at(second), long),
                serves,
                "{second}"
            );
            assert_eq!(
                seen.another_serves_more("a", &one, at(second), long),
                serves == 1,
                "{second}"
            );
            assert_eq!(seen.others_serve("b", "n:1", at(second), long), 0, "itself");
            let elsewhere = seen.served_elsewhere("a", at(second));
            assert_eq!(elsewhere.len(), networks.len(), "{second}");
            assert_eq!(seen.served_elsewhere("b", at(second)), BTreeSet::new(), "itself");
        }
        let both = BTreeSet::from(["n:1", "n:2"].map(str::to_owned));
        assert!(!seen.another_serves_more("a", &both, at(8), long), "no more");
        seen.record_failure();
        seen.record(vec![serving("b", 9, &["n:1"])], at(9));
        assert_eq!(seen.others_serve("a", "n:1", at(9), long), 0);
    }

    #[test]
    fn lanes_of_other_nodes_are_served_and_orphaned_and_processes_end() {
        let start = Instant::now();
        let mut seen = Seen::default();
        let leases = vec![
            lease("n:1|x", "b", 1),
            lease("n:2|x", "b", 1),
            lease("n:1|own", "a", 1),
            lease("n:1|gone", "c", 1),
            lease("n:1|free", "", 1),
            lease("tasks", "", 1),
            serving("b", 1, &["n:1"]),
            lease("node|left", "", 1),
        ];
        seen.record(leases, start);
        let served: Vec<String> = seen.served_by_others("a", start).into_iter().collect();
        assert_eq!(served, ["n:1|x"]);
        let long = Duration::from_secs(15);
        assert_eq!(seen.orphaned(start, long), Vec::<String>::new());
        let later = start + long;
        assert_eq!(
            seen.orphaned(later, long).len(),
            5,
            "nobody has shown that it lives"
        );
        let ended = |now| -> Vec<String> {
            let ended = seen.ended(now).into_iter();
            ended.map(|lease| lease.unit).collect()
        };
        assert_eq!(ended(start), ["node|left"]);
        assert_eq!(ended(start + ENDED), ["node|b", "node|left"]);
    }
}
