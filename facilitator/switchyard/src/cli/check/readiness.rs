//! What `check --ask` prints of nodes, signers and schemes.

use std::io::Write;

use super::CliError;
use super::shown::amount;
use crate::app::NetworkReport;
use crate::known::Known;

/// Prints the reports. Returns whether everything is ready.
pub(in crate::cli) fn print_reports(
    reports: &[NetworkReport],
    out: &mut dyn Write,
) -> Result<bool, CliError> {
    let known = Known::load().map_err(CliError)?;
    let mut all_ready = true;
    writeln!(out, "\nReadiness; no transaction was sent:")?;
    for report in reports {
        let network = &report.readiness;
        all_ready &= network.ready;
        let why = network.why_not.as_deref().unwrap_or("no reason is known");
        let state = if network.ready {
            "ready".to_owned()
        } else {
            format!("NOT READY: {why}")
        };
        writeln!(out, "  {}  {state}", network.network)?;
        for signer in &report.signers {
            let state = if signer.is_active { "" } else { " (retained)" };
            let balance = match (signer.balance, known.network(&network.network)) {
                (Some(balance), Some(known)) => amount(balance, known),
                (Some(balance), None) => format!("{balance} atomic units"),
                (None, _) => "an unknown amount".to_owned(),
            };
            writeln!(out, "    signer {}{state}  has {balance}", signer.address)?;
        }
        for warning in &network.warnings {
            writeln!(out, "    warning: {warning}")?;
        }
        // If the network is not ready, `why` names them.
        for node in report.nodes.iter().filter(|_| network.ready) {
            if let Some(trouble) = &node.trouble {
                all_ready = false;
                writeln!(
                    out,
                    "    node {}  NOT USED: {trouble}; correct it in rpc, or take it out",
                    node.host
                )?;
            }
        }
        for signer in report.unfunded.iter().filter(|_| network.ready) {
            all_ready = false;
            writeln!(
                out,
                "    signer {signer}  CAN'T PAY for a transaction of max_cost: send it native currency, or take it out"
            )?;
        }
        // Schemes are checked only where their network is ready.
        for scheme in network.schemes.iter().filter(|_| network.ready) {
            all_ready &= scheme.ready;
            let why = scheme.why_not.as_deref().unwrap_or("the scheme gives no reason");
            let state = if scheme.ready {
                "ready".to_owned()
            } else {
                format!("NOT READY: {why}")
            };
            writeln!(out, "    {}  {state}", scheme.scheme)?;
            for warning in &scheme.warnings {
                writeln!(out, "      warning: {warning}")?;
            }
        }
    }
    Ok(all_ready)
}
