//! Floating-point numbers as text.

/// The text of a floating-point number, as the protocol has it.
pub(super) fn double_text(number: f64) -> String {
    let mut text = Vec::new();
    fastness_resp::double::write(number, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
