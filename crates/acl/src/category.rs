//! Categories of commands, for ACL CAT.

use fastness_engine::command::{Categories, CommandSpec, CommandTable};

/// The names of all categories, in Valkey's order.
pub fn names() -> impl Iterator<Item = &'static str> {
    Categories(u32::MAX).names()
}

/// The commands and subcommands of a category, implemented or not; `None` if there is no such category. The name may be
/// in upper or lower case.
#[must_use]
pub fn commands<'a>(table: &'a CommandTable, name: &[u8]) -> Option<impl Iterator<Item = &'a CommandSpec> + use<'a>> {
    let category = Categories::named(name)?;
    Some(table.all().iter().filter(move |spec| spec.categories.has(category)))
}
