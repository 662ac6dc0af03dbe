//! Which lanes a node gives up while it lives, and how often: what moves back soon is given up more seldom each time, and what
//! nobody takes is not offered again before another node serves more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::backoff::Backoff;
use tokio::time::Instant;

/// Pause before a lane is given up again that came back.
const CAME_BACK: Backoff = Backoff {
    first: Duration::from_secs(60),
    longest: Duration::from_secs(600),
};
/// The longest such pause where this node does not reach the chain and others can take the lane: it does nothing meanwhile.
const CAME_BACK_UNABLE: Duration = Duration::from_secs(60);
/// A lane that was given up waits for another node so much longer before this one takes it back.
pub(super) const LEFT_LONGER: Duration = Duration::from_secs(2);
/// Parts of a lane in the sum of fair shares.
const PARTS: usize = 1 << 20;

/// What became of the lanes that this node gave up.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    lanes: BTreeMap<String, Given>,
    /// Other nodes, each with a network that it serves.
    others: BTreeSet<(String, String)>,
}

#[derive(Debug)]
struct Given {
    /// Another node has not taken it yet, and neither has this one.
    is_open: bool,
    /// No other node has taken it since it was given up, and none serves more since.
    is_unwanted: bool,
    /// How often it came back.
    returns: u32,
    /// When it came back or went to another node, and the pause from then on.
    since: Instant,
    pause: Duration,
}

impl Given {
    fn is_over(&self, pause: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= pause
    }
}

impl GivenUp {
    pub(super) fn record(&mut self, unit: &str, now: Instant) {
        let given = self.lanes.entry(unit.to_owned()).or_insert(Given {
            is_open: true,
            is_unwanted: true,
            returns: 0,
            since: now,
            pause: Duration::ZERO,
        });
        (given.is_open, given.is_unwanted) = (true, true);
    }

    /// This node has taken a unit. If it had given it up, it does so again only after a pause, which doubles each time.
    pub(super) fn record_taken(&mut self, unit: &str, now: Instant) {
        if let Some(given) = self.lanes.get_mut(unit) {
            given.is_open = false;
            (given.since, given.pause) = (now, CAME_BACK.after(given.returns));
            given.returns = given.returns.saturating_add(1);
        }
    }

    /// Other nodes own these. What has stayed with one for the longest pause is forgotten.
    pub(super) fn record_elsewhere(&mut self, is_elsewhere: impl Fn(&str) -> bool, now: Instant) {
        for (unit, given) in &mut self.lanes {
            if given.is_open && is_elsewhere(unit) {
                (given.is_open, given.is_unwanted) = (false, false);
                (given.since, given.pause) = (now, CAME_BACK.longest);
            }
        }
        let is_over = |given: &Given| !given.is_open && given.is_over(given.pause, now);
        self.lanes
            .retain(|unit, given| !(is_elsewhere(unit) && is_over(given)));
    }

    /// What other nodes serve now, each network with its node. Where that is more than before, what nobody wanted is offered
    /// again.
    pub(super) fn record_others(&mut self, others: BTreeSet<(String, String)>) {
        if !others.is_subset(&self.others) {
            for given in self.lanes.values_mut() {
                given.is_unwanted = false;
            }
        }
        self.others = others;
    }

    /// Whether this node gave it up last and no node has taken it.
    pub(super) fn is_open(&self, unit: &str) -> bool {
        self.lanes.get(unit).is_some_and(|given| given.is_open)
    }

    /// How many lanes this node has given up and no node has taken.
    pub(super) fn open(&self) -> usize {
        self.lanes.values().filter(|given| given.is_open).count()
    }

    /// Whether it may be offered to nodes that have too few lanes.
    pub(super) fn may_offer(&self, unit: &str, now: Instant) -> bool {
        let given = self.lanes.get(unit);
        given.is_none_or(|given| !given.is_unwanted && given.is_over(given.pause, now))
    }

    /// Whether it may be given up because this node does not reach the chain.
    pub(super) fn may_give_up(&self, unit: &str, now: Instant) -> bool {
        self.lanes.get(unit).is_none_or(|given| {
            let longest = if given.is_unwanted {
                CAME_BACK.longest
            } else {
                CAME_BACK_UNABLE
            };
            given.is_over(given.pause.min(longest), now)
        })
    }
}

/// How many lanes a node should have at most: its part of each network's lanes, added up. `networks`: the lanes of each network,
/// and how many nodes share them.
pub(super) fn fair_share(networks: impl Iterator<Item = (usize, usize)>) -> usize {
    // Rounded down, by less than the parts of a lane that all networks together have.
    let parts = networks.map(|(lanes, nodes)| lanes.saturating_mul(PARTS) / nodes.max(1));
    let parts = parts.fold(0_usize, usize::saturating_add);
    parts.div_ceil(PARTS)
}

/// Since when this node can send and observe on each network, or can't.
#[derive(Debug, Default)]
pub(super) struct Abilities {
    networks: BTreeMap<String, (bool, Instant)>,
}

impl Abilities {
    pub(super) fn record(&mut self, network: &str, is_able: bool, now: Instant) {
        let known = self.networks.get(network).copied();
        if known.is_none_or(|(was_able, _)| was_able != is_able) {
            self.networks.insert(network.to_owned(), (is_able, now));
        }
    }

    pub(super) fn is_able(&self, network: &str) -> bool {
        self.networks.get(network).is_some_and(|(is_able, _)| *is_able)
    }

    /// Whether it has been unable for so long without a break.
    pub(super) fn is_unable_for(&self, network: &str, long: Duration, now: Instant) -> bool {
        self.networks
            .get(network)
            .is_some_and(|(is_able, since)| !is_able && now.saturating_duration_since(*since) >= long)
    }

    /// The networks on which it has not been unable for so long.
    pub(super) fn able_lately(&self, long: Duration, now: Instant) -> BTreeSet<String> {
        let able = self.networks.keys();
        able.filter(|network| !self.is_unable_for(network, long, now))
            .cloned()
            .collect()
    }

    pub(super) fn able(&self) -> BTreeSet<String> {
        let able = self.networks.iter().filter(|(_, (is_able, _))| *is_able);
        able.map(|(network, _)| network.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_the_sum_of_the_parts_of_each_network() {
        for (networks, fair) in [
            (&[(3, 3)][..], 1),
            (&[(3, 2)], 2),
            (&[(4, 30)], 1),
            (&[(30, 30)], 1),
            (&[(2, 2), (3, 1)], 4),
            (&[(1, 2), (1, 2)], 1),
            (&[(1, 3), (1, 3), (1, 3)], 1),
            (&[(2, 0)], 2),
            (&[], 0),
        ] {
            assert_eq!(fair_share(networks.iter().copied()), fair, "{networks:?}");
        }
    }

    #[test]
    fn a_lane_that_comes_back_is_given_up_more_seldom_each_time() {
        let mut now = Instant::now();
        let mut given = GivenUp::default();
        let (mut pauses, mut unable) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            assert!(given.may_offer("lane", now));
            given.record("lane", now);
            assert_eq!((given.is_open("lane"), given.open()), (true, 1));
            given.record_elsewhere(|_| true, now);
            assert_eq!(given.open(), 0);
            given.record_taken("lane", now);
            let began = now;
            while !given.may_give_up("lane", now) {
                now += Duration::from_secs(1);
            }
            unable.push((now - began).as_secs());
            while !given.may_offer("lane", now) {
                now += Duration::from_secs(1);
            }
            pauses.push((now - began).as_secs());
        }
        assert_eq!(pauses, [60, 120, 240, 480, 600, 600, 600, 600]);
        assert_eq!(unable, [60; 8], "its lanes do nothing meanwhile");
        assert!(given.may_offer("another", now) && given.may_give_up("another", now));
    }

    #[test]
    fn a_lane_that_nobody_takes_is_offered_again_when_another_node_serves_more() {
        let start = Instant::now();
        let long = CAME_BACK.longest;
        let served = |pairs: &[(&str, &str)]| -> BTreeSet<(String, String)> {
            let pairs = pairs.iter();
            pairs
                .map(|(node, network)| ((*node).to_owned(), (*network).to_owned()))
                .collect()
        };
        let mut given = GivenUp::default();
        given.record_others(served(&[("b", "n:1"), ("c", "n:1")]));
        given.record("lane", start);
        given.record_taken("lane", start);
        assert!(given.may_give_up("lane", start + long), "for another reason");
        for (others, is_offered) in [
            (&[("b", "n:1"), ("c", "n:1")][..], false),
            (&[("b", "n:1")], false),
            (&[("b", "n:1"), ("b", "n:2")], true),
        ] {
            given.record_others(served(others));
            assert_eq!(given.may_offer("lane", start + long), is_offered, "{others:?}");
        }
        assert!(!given.may_offer("lane", start), "the pause stays");
        given.record("lane", start + long);
        given.record_taken("lane", start + long);
        assert!(!given.may_offer("lane", start + long * 2));
        given.record_others(served(&[("d", "n:1")]));
        assert!(given.may_offer("lane", start + long * 2), "another node");
        // Without one, also a node that does not reach the chain keeps it longer each time.
        given.record("lane", start);
        given.record_taken("lane", start);
        assert!(!given.may_give_up("lane", start + CAME_BACK_UNABLE));
    }

    #[test]
    fn a_lane_that_stays_elsewhere_is_forgotten() {
        let start = Instant::now();
        let mut given = GivenUp::default();
        given.record("lane", start);
        given.record_elsewhere(|_| false, start);
        assert!(given.is_open("lane"), "nobody has it");
        given.record_elsewhere(|unit| unit == "lane", start);
        assert_eq!(given.open(), 0);
        given.record_taken("lane", start);
        assert!(!given.may_offer("lane", start), "it came back at once");
        assert!(given.may_offer("lane", start + CAME_BACK.first), "it was wanted");
        given.record_elsewhere(|_| true, start + CAME_BACK.longest);
        assert!(given.lanes.is_empty());
    }

    #[test]
    fn what_a_node_can_do_counts_by_how_long_it_lasts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let long = Duration::from_secs(5);
        let mut abilities = Abilities::default();
        assert!(!abilities.is_able("n:1") && !abilities.is_unable_for("n:1", Duration::ZERO, start));
        abilities.record("n:1", false, at(0));
        abilities.record("n:2", true, at(0));
        abilities.record("n:1", false, at(4));
        assert!(!abilities.is_unable_for("n:1", long, at(4)));
        assert_eq!(abilities.able_lately(long, at(4)).len(), 2);
        assert!(abilities.is_unable_for("n:1", long, at(5)));
        assert_eq!(abilities.able_lately(long, at(5)), abilities.able());
        abilities.record("n:1", true, at(6));
        abilities.record("n:1", false, at(7));
        assert!(
            !abilities.is_unable_for("n:1", long, at(11)),
            "it was able meanwhile"
        );
        assert_eq!(abilities.able(), BTreeSet::from(["n:2".to_owned()]));
    }
}
