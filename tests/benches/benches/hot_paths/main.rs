//! The hot paths of a payment. Each comparison first asserts that our side succeeds, and that a peer has the same result.

mod boundary;
mod evm;
mod http;
mod journals;
mod svm;
mod vectors;

use benches::Comparisons;

fn main() {
    let mut comparisons = Comparisons::from_command_line();
    http::compare(&mut comparisons);
    evm::compare(&mut comparisons);
    svm::compare(&mut comparisons);
    boundary::compare(&mut comparisons);
    journals::compare(&mut comparisons);
    comparisons.finish();
}
