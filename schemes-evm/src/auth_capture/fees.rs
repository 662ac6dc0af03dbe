//! Fees of charges and captures (auth-capture-evm.md section 11), in the form that the deployment takes.

use alloy_primitives::{Address, U256};

use super::deployment::FeeForm;

/// Basis points of one whole.
pub const BPS_PER_WHOLE: u16 = 10_000;

/// A fee as it is submitted. The two forms are never converted into one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fee {
    Bps(u16),
    /// Atomic units of the token.
    Amount(U256),
}

impl Fee {
    #[must_use]
    pub fn form(self) -> FeeForm {
        match self {
            Self::Bps(_) => FeeForm::Bps,
            Self::Amount(_) => FeeForm::Amount,
        }
    }

    #[must_use]
    pub fn is_zero(self) -> bool {
        match self {
            Self::Bps(bps) => bps == 0,
            Self::Amount(units) => units.is_zero(),
        }
    }

    /// What the receiver does not get, in atomic units. `None` on overflow.
    #[must_use]
    pub fn of(self, amount: U256) -> Option<U256> {
        match self {
            Self::Bps(bps) => share(amount, bps),
            Self::Amount(units) => Some(units),
        }
    }
}

/// The payment's terms about fees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeeTerms {
    /// Basis points, `min <= max <= 10000`.
    pub min_bps: u16,
    pub max_bps: u16,
    /// Zero: the operator chooses, which only terms without any fee may leave open.
    pub recipient: Address,
}

/// Why a submitted fee is outside of the terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeeFault {
    /// The receiver is not the terms' one.
    Receiver,
    OutOfRange,
    /// A fee without a recipient.
    ZeroReceiver,
}

impl FeeTerms {
    /// The lowest fee that the terms allow: submitted where no fee is chosen.
    #[must_use]
    pub fn least(&self, form: FeeForm, amount: U256) -> Option<Fee> {
        match form {
            FeeForm::Bps => Some(Fee::Bps(self.min_bps)),
            FeeForm::Amount => share(amount, self.min_bps).map(Fee::Amount),
        }
    }

    /// The rules that the escrow enforces, in the specified order.
    #[must_use]
    pub fn fault(&self, fee: Fee, fee_receiver: Address, amount: U256) -> Option<FeeFault> {
        if self.recipient != Address::ZERO && fee_receiver != self.recipient {
            return Some(FeeFault::Receiver);
        }
        let in_range = match fee {
            Fee::Bps(bps) => (self.min_bps..=self.max_bps).contains(&bps),
            Fee::Amount(units) => match (share(amount, self.min_bps), share(amount, self.max_bps)) {
                (Some(least), Some(most)) => (least..=most).contains(&units),
                _ => false,
            },
        };
        if !in_range {
            return Some(FeeFault::OutOfRange);
        }
        (!fee.is_zero() && fee_receiver == Address::ZERO).then_some(FeeFault::ZeroReceiver)
    }
}

/// Floor of `amount * bps / 10000`, as the escrow divides. `None` on overflow.
fn share(amount: U256, bps: u16) -> Option<U256> {
    amount
        .checked_mul(U256::from(bps))
        .map(|product| product / U256::from(BPS_PER_WHOLE))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOMEBODY: Address = Address::repeat_byte(4);

    fn terms(min_bps: u16, max_bps: u16, recipient: Address) -> FeeTerms {
        FeeTerms {
            min_bps,
            max_bps,
            recipient,
        }
    }

    #[test]
    fn t78_a_small_capture_floors_its_fee_to_nothing() {
        let terms = terms(100, 100, SOMEBODY);
        let amount = U256::from(99);
        let least = terms.least(FeeForm::Amount, amount).unwrap();
        assert_eq!(least, Fee::Amount(U256::ZERO));
        assert_eq!(terms.fault(least, SOMEBODY, amount), None);
        let one = Fee::Amount(U256::from(1));
        assert_eq!(terms.fault(one, SOMEBODY, amount), Some(FeeFault::OutOfRange));
        assert_eq!(terms.fault(one, SOMEBODY, U256::from(100)), None);
    }

    #[test]
    fn the_rules_come_in_order() {
        let amount = U256::from(1_000_000);
        let fixed = terms(100, 100, SOMEBODY);
        let other = Address::repeat_byte(5);
        assert_eq!(fixed.fault(Fee::Bps(7), other, amount), Some(FeeFault::Receiver));
        assert_eq!(
            fixed.fault(Fee::Bps(99), SOMEBODY, amount),
            Some(FeeFault::OutOfRange)
        );
        assert_eq!(fixed.fault(Fee::Bps(100), SOMEBODY, amount), None);
        assert_eq!(
            fixed.fault(Fee::Amount(U256::from(10_000)), SOMEBODY, amount),
            None
        );
        let open = terms(0, 100, Address::ZERO);
        assert_eq!(
            open.fault(Fee::Bps(1), Address::ZERO, amount),
            Some(FeeFault::ZeroReceiver)
        );
        assert_eq!(open.fault(Fee::Bps(0), Address::ZERO, amount), None);
        // A fixed recipient is enforced even where there is no fee.
        let none = terms(0, 0, SOMEBODY);
        assert_eq!(
            none.fault(Fee::Bps(0), Address::ZERO, amount),
            Some(FeeFault::Receiver)
        );
    }

    proptest! {
        #[test]
        fn the_least_fee_is_always_inside_the_terms(
            amount in 0u128.., min in 0u16..=10_000, more in 0u16..=10_000, bps in any::<bool>()
        ) {
            let terms = terms(min, min.saturating_add(more).min(10_000), SOMEBODY);
            let form = if bps { FeeForm::Bps } else { FeeForm::Amount };
            let amount = U256::from(amount);
            let fee = terms.least(form, amount).expect("fits");
            prop_assert_eq!(terms.fault(fee, SOMEBODY, amount), None);
            prop_assert!(fee.of(amount).expect("fits") <= amount);
        }

        #[test]
        fn no_amount_panics(amount in any::<[u8; 32]>(), units in any::<[u8; 32]>(), min in any::<u16>(), max in any::<u16>()) {
            let terms = terms(min, max, SOMEBODY);
            let _ = terms.fault(Fee::Amount(U256::from_be_bytes(units)), SOMEBODY, U256::from_be_bytes(amount));
            let _ = terms.least(FeeForm::Amount, U256::from_be_bytes(amount));
        }
    }
}
