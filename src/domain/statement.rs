//! The form of a vendor's statement: its columns, and the trailer that shows whether it is whole.

/// Columns of a statement, in their order.
pub const COLUMNS: [&str; 13] = [
    "id",
    "transaction_id",
    "reference_no",
    "status",
    "late",
    "amount",
    "currency",
    "operator",
    "connection_no",
    "provider",
    "provider_ref",
    "created_at",
    "settled_at",
];

/// First cell of the trailer's line with the number of recharges.
pub const COUNT: &str = "# count";
/// First cell of the last line, with the SHA-256 of all lines before the trailer.
pub const DIGEST: &str = "# sha256";
