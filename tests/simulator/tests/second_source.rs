//! Payments that are decided on what two nodes show, each by itself, whatever happens to the nodes.

use simulator::clients::SettleRequest;
use simulator::faults::{Harm, Point};
use simulator::random::scenario;
use simulator::run::{Scenario, simulate_traced};
use simulator::scheme::Shape;
use simulator::script::{Outcome, payment, quiet};

fn careful(mut scenario: Scenario) -> Scenario {
    scenario.terms.second_source_above = Some(1);
    scenario
}

fn success(scenario: &Scenario, request: &SettleRequest) -> bool {
    scenario.run_clean().outcomes(request).contains(&Outcome::Success)
}

#[test]
fn t14_both_nodes_are_queried_and_a_payment_of_less_is_decided_by_one() {
    let request = payment("ann", 10, Shape::Plain);
    let polls = |scenario: &Scenario| {
        let report = scenario.run_clean();
        assert_eq!(report.outcomes(&request).first(), Some(&Outcome::Success));
        assert_eq!(report.payments, 1);
        report.passes[&Point::Observe]
    };
    let plain = quiet().settle(500, &request, 25_000, 1);
    let careful = careful(plain.clone());
    assert!(polls(&careful) >= polls(&plain) + 2);
}

/// What keeps a second node from agreeing delays the answer and never changes it.
#[test]
fn t14_trouble_with_a_node_delays_the_answer_and_nothing_else() {
    for harm in [
        Harm::Unavailable,
        Harm::Hang,
        Harm::Stale,
        Harm::Garbage,
        Harm::Panic,
    ] {
        for from in 0..8 {
            let request = payment("ann", 10, Shape::Plain);
            let scenario = quiet()
                .settle(500, &request, 25_000, 6)
                .harm(Point::Observe, harm, from, 4);
            assert!(
                success(&careful(scenario), &request),
                "{harm:?} from poll {from} on"
            );
        }
    }
}

#[test]
fn t14_no_seed_loses_or_repeats_or_misreports_a_payment() {
    let mut paid = 0;
    for seed in 1_000..1_060 {
        let scenario = careful(scenario(seed, 30));
        let (report, trace) = simulate_traced(&scenario).expect("a runtime");
        assert!(
            report.verdict.is_clean(),
            "{trace}\nseed {seed}: {:#?}",
            report.verdict
        );
        paid += report.payments;
    }
    assert!(paid > 300, "{paid}");
}
