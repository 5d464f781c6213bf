//! Checks the structure inside each crate: import cycles between modules, names that stand for one type only,
//! dependencies that are used, errors that are types, and lines that fit on a screen.
//!
//! The lists of exceptions below may only shrink: an entry that is not needed any more fails the test as well.
//! The lengths of functions and their parameters are checked by clippy (`clippy.toml`).

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// The longest line that is a comment, in characters.
const COMMENT_COLUMNS_MAX: usize = 120;

/// Modules in import cycles, by crate. To be removed, never extended.
const CYCLES: &[(&str, &[&str])] = &[];

/// Type names that stand for two or more types in one crate. To be removed, never extended.
const NAMES_TWICE: &[(&str, &[&str])] = &[];

/// Files of the product with a `Result<_, String>`. To be removed, never extended.
const STRING_ERRORS: &[&str] = &[];

/// Dependencies that no source names, with the reason.
const UNNAMED_DEPENDENCIES: &[(&str, &str, &str)] = &[];

/// Crates that are not a part of the product.
const TOOLS: &[&str] = &["testkit", "load", "fuzz"];

fn crates_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn crate_names() -> Vec<String> {
    let entries = std::fs::read_dir(crates_folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = entries
        .filter(|path| path.join("Cargo.toml").exists())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(names.len() > 10, "found only {names:?}");
    names
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// A module's path below its crate: `["keyspace", "entry"]`; the root's is empty.
type ModulePath = Vec<String>;

/// A module of a crate as it is built for users: without code that exists only for tests.
struct Module {
    /// Below `crates/`.
    file: String,
    /// Paths in the source, with imported names replaced by what they stand for.
    paths: BTreeSet<Vec<String>>,
    /// Re-exports of the module: the name, and the full path.
    passes_on: BTreeMap<String, Vec<String>>,
    types: Vec<String>,
    string_errors: usize,
}

/// All modules of a root (`lib.rs`, `main.rs`).
type Modules = BTreeMap<ModulePath, Module>;

/// The attribute that keeps an item out of what is built for users.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        list.path.is_ident("cfg") && list.tokens.to_string().split(|c: char| !c.is_alphanumeric()).any(|w| w == "test")
    })
}

/// The file that `#[path = "…"]` names.
fn named_file(attributes: &[syn::Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else { return None };
        pair.path.is_ident("path").then(|| text.value())
    })
}

/// Reads a module and those below it. `folder` contains the files of its children.
fn read_modules(path: ModulePath, file: &Path, folder: &Path, modules: &mut Modules) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut found = Found::default();
    for item in parsed.items.iter().filter(|item| !is_for_tests(attributes(item))) {
        if let syn::Item::Mod(child) = item
            && child.content.is_none()
        {
            let name = child.ident.to_string();
            let child_path = path.iter().cloned().chain([name.clone()]).collect();
            let file = match named_file(&child.attrs) {
                Some(named) => file.parent().unwrap().join(named),
                None => Some(folder.join(format!("{name}.rs")))
                    .filter(|file| file.exists())
                    .unwrap_or_else(|| folder.join(&name).join("mod.rs")),
            };
            read_modules(child_path, &file, &folder.join(&name), modules);
            continue;
        }
        found.visit_item(item);
    }
    let file = file.strip_prefix(crates_folder()).unwrap().to_str().unwrap().to_owned();
    let Found { imported, written, passes_on, types, string_errors } = found;
    let mut paths: BTreeSet<Vec<String>> = imported.values().cloned().collect();
    for mut written in written {
        if let Some(imported) = imported.get(&written[0]) {
            written.splice(0..1, imported.iter().cloned());
        }
        paths.insert(written);
    }
    modules.insert(path, Module { file, paths, passes_on, types, string_errors });
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The content of a module.
#[derive(Default)]
struct Found {
    /// Names that a `use` imports, with what they stand for.
    imported: BTreeMap<String, Vec<String>>,
    /// Paths in expressions, types and macros.
    written: BTreeSet<Vec<String>>,
    passes_on: BTreeMap<String, Vec<String>>,
    types: Vec<String>,
    string_errors: usize,
}

impl Found {
    fn import(&mut self, tree: &syn::UseTree, before: &[String], passes_on: bool) {
        let with = |name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        let (name, path) = match tree {
            syn::UseTree::Path(path) => return self.import(&path.tree, &with(&path.ident), passes_on),
            syn::UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(tree, before, passes_on));
            }
            syn::UseTree::Glob(_) => {
                self.written.insert(before.to_vec());
                return;
            }
            syn::UseTree::Name(name) if name.ident == "self" => (before.last().unwrap().clone(), before.to_vec()),
            syn::UseTree::Name(name) => (name.ident.to_string(), with(&name.ident)),
            syn::UseTree::Rename(rename) => (rename.rename.to_string(), with(&rename.ident)),
        };
        if passes_on {
            self.passes_on.insert(name, path);
        } else if name == "_" {
            self.written.insert(path);
        } else {
            self.imported.insert(name, path);
        }
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if is_for_tests(attributes(item)) {
            return;
        }
        match item {
            syn::Item::Struct(item) => self.types.push(item.ident.to_string()),
            syn::Item::Enum(item) => self.types.push(item.ident.to_string()),
            syn::Item::Trait(item) => self.types.push(item.ident.to_string()),
            syn::Item::Type(item) => self.types.push(item.ident.to_string()),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let passes_on = !matches!(item.vis, syn::Visibility::Inherited);
        self.import(&item.tree, &[], passes_on);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.written.insert(segments);
        if let Some(syn::PathSegment { ident, arguments: syn::PathArguments::AngleBracketed(arguments) }) =
            path.segments.last()
            && ident == "Result"
            && let Some(syn::GenericArgument::Type(syn::Type::Path(error))) = arguments.args.iter().nth(1)
            && error.path.is_ident("String")
        {
            self.string_errors += 1;
        }
        visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {
        // `pub(crate)` is not an import.
    }
}

/// The modules of a crate's library, or of its program if it has no library.
fn modules_of(name: &str) -> Modules {
    let folder = crates_folder().join(name).join("src");
    let root = Some(folder.join("lib.rs")).filter(|file| file.exists()).unwrap_or_else(|| folder.join("main.rs"));
    let mut modules = Modules::new();
    read_modules(ModulePath::new(), &root, &folder, &mut modules);
    modules
}

/// The module to which a path leads from `from`, through re-exports; `None`: out of the crate, or within the module.
fn resolve(modules: &Modules, from: &ModulePath, path: &[String], depth: usize) -> Option<ModulePath> {
    let (first, mut rest) = path.split_first()?;
    let mut base = match first.as_str() {
        "crate" => ModulePath::new(),
        "self" => from.clone(),
        "super" => from[..from.len().checked_sub(1)?].to_vec(),
        child => {
            let child: ModulePath = from.iter().cloned().chain([child.to_owned()]).collect();
            modules.contains_key(&child).then_some(child)?
        }
    };
    while let Some((next, further)) = rest.split_first() {
        let child: ModulePath = base.iter().cloned().chain([next.clone()]).collect();
        if next == "super" {
            base.pop()?;
        } else if modules.contains_key(&child) {
            base = child;
        } else if let Some(behind) = modules[&base].passes_on.get(next).filter(|_| depth < 8) {
            let whole: Vec<String> = behind.iter().chain(further).cloned().collect();
            return resolve(modules, &base, &whole, depth + 1).or(Some(base));
        } else {
            break;
        }
        rest = further;
    }
    Some(base)
}

/// Imports of each module. Re-exports are not counted, nor is the root, which re-exports everything.
fn imports(modules: &Modules) -> BTreeMap<&ModulePath, BTreeSet<&ModulePath>> {
    let targets = |from, module: &Module| {
        let resolved = module.paths.iter().filter_map(|path| resolve(modules, from, path, 0));
        let others = resolved.filter(|to| to != from && !to.is_empty());
        others.map(|to| modules.get_key_value(&to).unwrap().0).collect()
    };
    modules.iter().filter(|(path, _)| !path.is_empty()).map(|(path, module)| (path, targets(path, module))).collect()
}

/// All modules that a module reaches by imports; itself only through a cycle.
fn reached<'a>(
    imports: &BTreeMap<&'a ModulePath, BTreeSet<&'a ModulePath>>,
    from: &'a ModulePath,
) -> BTreeSet<&'a ModulePath> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        for next in imports.get(module).into_iter().flatten().copied() {
            if reached.insert(next) {
                open.push(next);
            }
        }
    }
    reached
}

/// Compares the findings with a list of exceptions, both ways.
fn compare(what: &str, found: &BTreeSet<(String, String)>, listed: &BTreeSet<(String, String)>) {
    let new: Vec<_> = found.difference(listed).collect();
    let unneeded: Vec<_> = listed.difference(found).collect();
    assert!(new.is_empty() && unneeded.is_empty(), "{what}\nnew: {new:#?}\nto be removed from the list: {unneeded:#?}");
}

fn flat(list: &[(&str, &[&str])]) -> BTreeSet<(String, String)> {
    list.iter().flat_map(|(name, items)| items.iter().map(|item| ((*name).to_owned(), (*item).to_owned()))).collect()
}

#[test]
fn modules_have_no_import_cycles() {
    let mut found = BTreeSet::new();
    let mut edges = 0;
    for name in crate_names() {
        let modules = modules_of(&name);
        let imports = imports(&modules);
        edges += imports.values().map(BTreeSet::len).sum::<usize>();
        let circular = imports.keys().filter(|module| reached(&imports, module).contains(*module));
        found.extend(circular.map(|module| (name.clone(), module.join("::"))));
    }
    assert!(edges > 500, "only {edges} imports were found");
    compare("modules in import cycles", &found, &flat(CYCLES));
}

#[test]
fn a_type_name_stands_for_one_type() {
    let mut found = BTreeSet::new();
    let mut types = 0;
    for name in crate_names() {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for ty in modules_of(&name).into_values().flat_map(|module| module.types) {
            types += 1;
            *counts.entry(ty).or_default() += 1;
        }
        found.extend(counts.into_iter().filter(|(_, count)| *count > 1).map(|(ty, _)| (name.clone(), ty)));
    }
    assert!(types > 500, "only {types} types were found");
    compare("type names that stand for more than one type", &found, &flat(NAMES_TWICE));
}

#[test]
fn errors_are_types_and_not_text() {
    let mut found = BTreeSet::new();
    for name in crate_names().into_iter().filter(|name| !TOOLS.contains(&name.as_str())) {
        let modules = modules_of(&name).into_values().filter(|module| module.string_errors > 0);
        found.extend(modules.map(|module| (name.clone(), module.file)));
    }
    let listed = STRING_ERRORS.iter().map(|file| (file.split('/').next().unwrap().to_owned(), (*file).to_owned()));
    compare("files with a Result<_, String>", &found, &listed.collect());
}

#[test]
fn every_dependency_is_used() {
    let mut found = BTreeSet::new();
    for name in crate_names() {
        let folder = crates_folder().join(&name);
        let (mut product, mut all) = (String::new(), String::new());
        for (part, is_product) in [("src", true), ("tests", false), ("benches", false), ("build.rs", true)] {
            let mut files = Vec::new();
            sources(&folder.join(part), &mut files);
            files.extend(Some(folder.join(part)).filter(|path| path.is_file()));
            for file in files {
                let text = std::fs::read_to_string(&file).unwrap();
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                let code = code.collect::<Vec<_>>().join("\n");
                product.push_str(if is_product { &code } else { "" });
                all.push_str(&code);
            }
        }
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let mut section = "";
        for line in manifest.lines() {
            if let Some(header) = line.strip_prefix('[') {
                section = header.trim_end_matches(']');
                continue;
            }
            let Some((dependency, _)) = line.split_once('=').filter(|_| section.ends_with("dependencies")) else {
                continue;
            };
            let dependency = dependency.trim().trim_end_matches(".workspace");
            let text = if section == "dev-dependencies" { &all } else { &product };
            if !names(text, &dependency.replace('-', "_")) {
                found.insert((name.clone(), dependency.to_owned()));
            }
        }
    }
    let listed =
        UNNAMED_DEPENDENCIES.iter().map(|(name, dependency, _)| ((*name).to_owned(), (*dependency).to_owned()));
    compare("dependencies that no source names", &found, &listed.collect());
}

/// Whether a text contains a name as a whole word.
fn names(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + name.len()..].starts_with(is_part))
}

#[test]
fn comments_fit_on_a_screen() {
    let mut files = Vec::new();
    sources(&crates_folder(), &mut files);
    assert!(files.len() > 100, "found {} files only", files.len());
    let mut wrong = Vec::new();
    for file in files {
        for (number, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            let length = line.chars().count();
            if line.trim_start().starts_with("//") && length > COMMENT_COLUMNS_MAX {
                wrong.push(format!("{}:{}: {length} columns", file.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "comments longer than {COMMENT_COLUMNS_MAX} columns:\n{}", wrong.join("\n"));
}
