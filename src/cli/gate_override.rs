//! Convolutions that are gated, or not, whatever the placement says, as options name them.

use gaternet_models::GateOverride;

/// Reads `PATTERN=on` or `PATTERN=none`.
///
/// # Errors
/// If the text is neither, or the pattern is none.
pub fn parse(text: &str) -> Result<GateOverride, String> {
    let fail = || "expected PATTERN=on or PATTERN=none".to_owned();
    let (convs, gated) = text.rsplit_once('=').ok_or_else(fail)?;
    let gated = match gated {
        "on" => true,
        "none" => false,
        _ => return Err(fail()),
    };
    let one = GateOverride { convs: convs.to_owned(), gated };
    one.validate().map_err(|error| error.to_string())?;
    Ok(one)
}
