//! What a plan may request. Schemes need not be trusted: everything that was not granted is refused before a lane
//! gets it.

use crate::registry::Kind;
use sdk_plugin::scheme::{LaneChoice, Plan};

/// The most steps that a plan may have.
const MAX_STEPS: usize = 8;
/// The most reserves that a plan may have, and the most holds.
const MAX_ROWS: usize = 64;

/// Checks a plan against the kind's grants.
///
/// # Errors
///
/// A sentence for the operator's log: the plugin has a defect.
pub fn check(plan: &Plan, kind: &Kind) -> Result<(), String> {
    if !kind.network.has_chain() {
        return Err("a plan has transactions, and this network has no chain to send them to".into());
    }
    if plan.steps.is_empty() || plan.steps.len() > MAX_STEPS {
        return Err(format!(
            "a plan has 1 to {MAX_STEPS} steps, this one has {}",
            plan.steps.len()
        ));
    }
    if plan.steps.iter().filter(|step| step.pays).count() != 1 {
        return Err("exactly one step of a plan pays".into());
    }
    if plan.reserves.len() > MAX_ROWS || plan.holds.len() > MAX_ROWS {
        return Err(format!("a plan has at most {MAX_ROWS} reserves and holds"));
    }
    let moving = plan.steps.iter().filter(|step| !step.call.native_value.is_zero());
    if moving.count() > 1 {
        return Err("at most one step of a plan moves native currency".into());
    }
    plan.parties.check(&plan.payer)?;
    super::rows::check(&plan.writes, &plan.jobs, kind)?;
    let lanes = kind.network.all_lanes();
    let is_signer = |address: &str| lanes.iter().any(|lane| lane.signer == *address);
    // A hold of a signer that is not configured would keep the process from starting.
    if let Some(hold) = plan.holds.iter().find(|hold| !is_signer(&hold.signer)) {
        return Err(format!("holds signer {}, which is not granted", hold.signer));
    }
    let assets = kind.network.settings.assets.as_ref();
    for (index, step) in plan.steps.iter().enumerate() {
        let at = |what: String| format!("step {index}: {what}");
        if let Some(guard) = &step.evidence.guard {
            guard.check().map_err(|what| at(what.to_owned()))?;
        }
        let allowing = kind
            .grants
            .iter()
            .filter(|grant| grant.allows(step, &plan.payer, assets));
        let most = allowing
            .map(|grant| grant.max_native_value)
            .max()
            .ok_or_else(|| {
                at(format!(
                    "calls {} on {}, which is not granted to plugin.{}",
                    step.call.operation, step.call.target, kind.instance.name
                ))
            })?;
        if step.call.native_value > most {
            return Err(at(format!(
                "moves {} of native currency, and {most} is granted",
                step.call.native_value
            )));
        }
        match &step.lane {
            LaneChoice::Any => {}
            // It may land after its step has ended.
            LaneChoice::Foreign if step.pays => {
                return Err(at("pays by a transaction that the client has signed".to_owned()));
            }
            LaneChoice::Foreign if step.expires_at_s.is_none() => {
                return Err(at(
                    "a transaction that the client has signed has no end; set expires_at_s".to_owned(),
                ));
            }
            LaneChoice::Foreign => {}
            LaneChoice::Signer { address } => {
                if !is_signer(address) {
                    return Err(at(format!("wants signer {address}, which is not granted")));
                }
            }
        }
    }
    Ok(())
}
