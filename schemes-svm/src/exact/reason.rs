//! Reason strings of `exact` on Solana (exact-svm.md). Clients compare them byte for byte.

macro_rules! reasons {
    ($($(#[$meta:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$meta])* pub const $name: &str = $text;)*

        /// Every reason of this scheme's own, in the order of the specification.
        pub const ALL: &[&str] = &[$($name),*];
    };
}

reasons! {
    UNSUPPORTED_SCHEME = "invalid_exact_svm_unsupported_scheme";
    NETWORK_MISMATCH = "invalid_exact_svm_network_mismatch";
    MISSING_FEE_PAYER = "invalid_exact_svm_payload_missing_fee_payer";
    FEE_PAYER_NOT_MANAGED = "invalid_exact_svm_fee_payer_not_managed_by_facilitator";
    /// The same in protocol v1 and in all schemes of the family.
    UNSUPPORTED_VERSION = "unsupported_transaction_version";
    UNDECODABLE = "invalid_exact_svm_payload_transaction_could_not_be_decoded";
    EXCESSIVE_SIGNERS = "invalid_exact_svm_payload_excessive_signers";
    FEE_PAYER_MISMATCH = "invalid_exact_svm_fee_payer_mismatch";
    SIGNATURE_INVALID = "invalid_exact_svm_payload_signature_invalid";
    LOOKUP_NOT_AVAILABLE = "invalid_exact_svm_smart_wallet_alt_resolution_not_available";
    LOOKUP_FAILED = "invalid_exact_svm_smart_wallet_alt_resolution_failed";

    INSTRUCTIONS_LENGTH = "invalid_exact_svm_payload_transaction_instructions_length";
    COMPUTE_LIMIT = "invalid_exact_svm_payload_transaction_instructions_compute_limit_instruction";
    COMPUTE_LIMIT_TOO_HIGH = "invalid_exact_svm_payload_transaction_instructions_compute_limit_instruction_too_high";
    COMPUTE_PRICE = "invalid_exact_svm_payload_transaction_instructions_compute_price_instruction";
    COMPUTE_PRICE_TOO_HIGH = "invalid_exact_svm_payload_transaction_instructions_compute_price_instruction_too_high";
    NO_TRANSFER = "invalid_exact_svm_payload_no_transfer_instruction";
    FEE_PAYER_TRANSFERRING = "invalid_exact_svm_payload_transaction_fee_payer_transferring_funds";
    MINT_MISMATCH = "invalid_exact_svm_payload_mint_mismatch";
    RECIPIENT_MISMATCH = "invalid_exact_svm_payload_recipient_mismatch";
    AMOUNT_MISMATCH = "invalid_exact_svm_payload_amount_mismatch";
    UNKNOWN_FOURTH = "invalid_exact_svm_payload_unknown_fourth_instruction";
    UNKNOWN_FIFTH = "invalid_exact_svm_payload_unknown_fifth_instruction";
    UNKNOWN_SIXTH = "invalid_exact_svm_payload_unknown_sixth_instruction";
    UNKNOWN_SEVENTH = "invalid_exact_svm_payload_unknown_seventh_instruction";
    UNKNOWN_OPTIONAL = "invalid_exact_svm_payload_unknown_optional_instruction";
    MEMO_COUNT = "invalid_exact_svm_payload_memo_count";
    MEMO_MISMATCH = "invalid_exact_svm_payload_memo_mismatch";
    SIMULATION_FAILED = "invalid_exact_svm_transaction_simulation_failed";

    NOT_ISOLATED = "invalid_exact_svm_preflight_postflight_fee_payer_not_isolated";
    UNKNOWN_INSTRUCTION = "invalid_exact_svm_payload_unknown_instruction";
    INSTRUCTIONS_ORDER = "invalid_exact_svm_payload_transaction_instructions_order";

    CREATE_NOT_IDEMPOTENT = "invalid_exact_svm_payload_create_ata_not_idempotent";
    CREATE_ACCOUNT_COUNT = "invalid_exact_svm_payload_create_ata_account_count";
    CREATE_FUNDER = "invalid_exact_svm_payload_create_ata_funder_mismatch";
    CREATE_OWNER = "invalid_exact_svm_payload_create_ata_owner_mismatch";
    CREATE_MINT = "invalid_exact_svm_payload_create_ata_mint_mismatch";
    CREATE_SYSTEM = "invalid_exact_svm_payload_create_ata_system_program_mismatch";
    CREATE_TOKEN_PROGRAM = "invalid_exact_svm_payload_create_ata_token_program_mismatch";
    CREATE_DESTINATION = "invalid_exact_svm_payload_create_ata_destination_mismatch";

    WALLET_PROGRAM = "invalid_exact_svm_smart_wallet_program_not_allowed";
    WALLET_NOT_ISOLATED = "invalid_exact_svm_smart_wallet_fee_payer_not_isolated";
    WALLET_BUDGET = "invalid_exact_svm_smart_wallet_malformed_compute_budget";
    WALLET_LIMIT = "invalid_exact_svm_smart_wallet_malformed_compute_limit";
    WALLET_PRICE = "invalid_exact_svm_smart_wallet_malformed_compute_price";
    WALLET_UNITS_TOO_HIGH = "invalid_exact_svm_smart_wallet_compute_units_too_high";
    WALLET_FEE_TOO_HIGH = "invalid_exact_svm_smart_wallet_priority_fee_too_high";
    WALLET_BUDGET_UNSUPPORTED = "invalid_exact_svm_smart_wallet_unsupported_compute_budget_instruction";
    WALLET_SIMULATION = "invalid_exact_svm_smart_wallet_simulation_failed";
    WALLET_NO_TRANSFER = "invalid_exact_svm_smart_wallet_no_transfer_in_simulation";
    WALLET_MISMATCH = "invalid_exact_svm_smart_wallet_transfer_mismatch";
    WALLET_SEVERAL = "invalid_exact_svm_smart_wallet_multiple_matching_transfers";
    WALLET_DESTINATION = "invalid_exact_svm_smart_wallet_cannot_derive_destination_ata";

    TRANSACTION_FAILED = "invalid_exact_svm_transaction_failed";
    NOT_CONFIRMED = "post_settlement_transfer_not_confirmed";
}

pub use sdk_plugin::wire::reason::{DUPLICATE_SETTLEMENT, INVALID_PAYMENT_REQUIREMENTS};

/// What protocol v1 calls a reason: some lost their prefix there.
#[must_use]
pub fn in_v1(reason: &str) -> &str {
    match reason {
        UNSUPPORTED_SCHEME => "unsupported_scheme",
        NETWORK_MISMATCH => "network_mismatch",
        FEE_PAYER_NOT_MANAGED => "fee_payer_not_managed_by_facilitator",
        SIMULATION_FAILED => "transaction_simulation_failed",
        TRANSACTION_FAILED => "transaction_failed",
        same => same,
    }
}
