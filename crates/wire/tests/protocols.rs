//! `proto/` as a whole: what was released has not changed, and names follow the rules that buf checks by default.
//!
//! `released.bin` holds the descriptors of what was released. After an addition, `FASTNESS_RELEASE_PROTO=1 cargo test
//! -p fastness-wire` writes it anew, if nothing that it holds has changed.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

fn current() -> FileDescriptorSet {
    FileDescriptorSet::decode(fastness_wire::FILE_DESCRIPTOR_SET).unwrap()
}

/// Everything that a peer of another version relies on, a line each.
fn facts(set: &FileDescriptorSet) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    for file in &set.file {
        let package = file.package();
        for service in &file.service {
            for method in &service.method {
                facts.insert(format!(
                    "rpc {package}.{}/{} {} {} {} {}",
                    service.name(),
                    method.name(),
                    method.input_type(),
                    method.client_streaming(),
                    method.output_type(),
                    method.server_streaming()
                ));
            }
        }
        file.message_type.iter().for_each(|message| message_facts(package, message, &mut facts));
        file.enum_type.iter().for_each(|of| enum_facts(package, of, &mut facts));
    }
    facts
}

fn message_facts(scope: &str, message: &DescriptorProto, facts: &mut BTreeSet<String>) {
    let name = format!("{scope}.{}", message.name());
    for field in &message.field {
        let oneof = field.oneof_index.map(|index| message.oneof_decl[index as usize].name().to_owned());
        facts.insert(format!(
            "field {name} {} {} {:?} {} {:?} {oneof:?}",
            field.number(),
            field.name(),
            field.r#type(),
            field.type_name(),
            field.label()
        ));
    }
    message.nested_type.iter().for_each(|nested| message_facts(&name, nested, facts));
    message.enum_type.iter().for_each(|of| enum_facts(&name, of, facts));
}

fn enum_facts(scope: &str, of: &EnumDescriptorProto, facts: &mut BTreeSet<String>) {
    for value in &of.value {
        facts.insert(format!("value {scope}.{} {} {}", of.name(), value.number(), value.name()));
    }
}

#[test]
fn what_was_released_has_not_changed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/released.bin");
    let released = std::fs::read(&path).map(|bytes| FileDescriptorSet::decode(&*bytes).unwrap()).unwrap_or_default();
    let (before, now) = (facts(&released), facts(&current()));
    let changed: Vec<_> = before.difference(&now).collect();
    assert!(changed.is_empty(), "released, and now missing or different: {changed:#?}");
    if std::env::var_os("FASTNESS_RELEASE_PROTO").is_some() {
        let mut set = current();
        // Comments may change.
        set.file.iter_mut().for_each(|file| file.source_code_info = None);
        std::fs::write(path, set.encode_to_vec()).unwrap();
    } else {
        let added: Vec<_> = now.difference(&before).collect();
        assert!(added.is_empty(), "not in tests/released.bin yet (see this file's head): {added:#?}");
    }
}

fn is_snake(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn is_pascal(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric())
}

/// `LikeThis` as `LIKE_THIS`.
fn upper_snake(name: &str) -> String {
    let mut snake = String::new();
    for (at, c) in name.char_indices() {
        if at > 0 && c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_uppercase());
    }
    snake
}

/// The rules of buf's category STANDARD, as far as they concern what is used here.
#[test]
fn names_follow_the_rules_of_buf() {
    let mut wrong = Vec::new();
    let set = current();
    for file in &set.file {
        let (path, package) = (file.name(), file.package());
        let folder = package.replace('.', "/");
        if Path::new(path).parent() != Some(Path::new(&folder)) {
            wrong.push(format!("{path}: PACKAGE_DIRECTORY_MATCH {package}"));
        }
        let version = package.rsplit('.').next().unwrap();
        if !(version.starts_with('v') && version[1..].parse::<u32>().is_ok()) {
            wrong.push(format!("{path}: PACKAGE_VERSION_SUFFIX {package}"));
        }
        if !package.split('.').all(is_snake) {
            wrong.push(format!("{path}: PACKAGE_LOWER_SNAKE_CASE {package}"));
        }
        check_services(file, &mut wrong);
        file.message_type.iter().for_each(|message| check_message(path, message, &mut wrong));
        file.enum_type.iter().for_each(|of| check_enum(path, of, &mut wrong));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn check_services(file: &FileDescriptorProto, wrong: &mut Vec<String>) {
    let path = file.name();
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for service in &file.service {
        if !is_pascal(service.name()) || !service.name().ends_with("Service") {
            wrong.push(format!("{path}: SERVICE_SUFFIX {}", service.name()));
        }
        for method in &service.method {
            let name = method.name();
            if !is_pascal(name) {
                wrong.push(format!("{path}: RPC_PASCAL_CASE {name}"));
            }
            for (type_name, suffix) in [(method.input_type(), "Request"), (method.output_type(), "Response")] {
                *uses.entry(type_name).or_default() += 1;
                let last = type_name.rsplit('.').next().unwrap();
                let streams_frames = last == "Frame" && file.package() == "fastness.peer.v1";
                if last != format!("{name}{suffix}") && !streams_frames {
                    wrong.push(format!("{path}: RPC_REQUEST_RESPONSE_NAME {name} {last}"));
                }
            }
        }
    }
    let shared = uses.into_iter().filter(|(name, count)| *count > 1 && !name.ends_with(".Frame"));
    wrong.extend(shared.map(|(name, _)| format!("{path}: RPC_REQUEST_RESPONSE_UNIQUE {name}")));
}

fn check_message(path: &str, message: &DescriptorProto, wrong: &mut Vec<String>) {
    let name = message.name();
    if !is_pascal(name) {
        wrong.push(format!("{path}: MESSAGE_PASCAL_CASE {name}"));
    }
    for field in &message.field {
        if !is_snake(field.name()) {
            wrong.push(format!("{path}: FIELD_LOWER_SNAKE_CASE {name}.{}", field.name()));
        }
    }
    for oneof in message.oneof_decl.iter().filter(|oneof| !oneof.name().starts_with('_')) {
        if !is_snake(oneof.name()) {
            wrong.push(format!("{path}: ONEOF_LOWER_SNAKE_CASE {name}.{}", oneof.name()));
        }
    }
    message.nested_type.iter().filter(|nested| !nested.name().ends_with("Entry")).for_each(|nested| {
        check_message(path, nested, wrong);
    });
    message.enum_type.iter().for_each(|of| check_enum(path, of, wrong));
}

fn check_enum(path: &str, of: &EnumDescriptorProto, wrong: &mut Vec<String>) {
    let prefix = upper_snake(of.name()) + "_";
    for value in &of.value {
        if !value.name().starts_with(&prefix) {
            wrong.push(format!("{path}: ENUM_VALUE_PREFIX {}", value.name()));
        }
        if value.number() == 0 && value.name() != format!("{prefix}UNSPECIFIED") {
            wrong.push(format!("{path}: ENUM_ZERO_VALUE_SUFFIX {}", value.name()));
        }
    }
}

/// Everything of the data API is described: its reference is made of the comments.
#[test]
fn the_data_api_is_described() {
    let set = current();
    let mut missing = Vec::new();
    for file in set.file.iter().filter(|file| file.package() == "fastness.v1") {
        let locations = &file.source_code_info.as_ref().unwrap().location;
        let has_text = |text: Option<&String>| text.is_some_and(|text| !text.trim().is_empty());
        let described: BTreeSet<&[i32]> = locations
            .iter()
            .filter(|location| has_text(location.leading_comments.as_ref()))
            .map(|location| &*location.path)
            .collect();
        for (s, service) in file.service.iter().enumerate() {
            for (m, method) in service.method.iter().enumerate() {
                if !described.contains(&*vec![6, s as i32, 2, m as i32]) {
                    missing.push(method.name().to_owned());
                }
            }
        }
        for (e, of) in file.enum_type.iter().enumerate() {
            if !described.contains(&*vec![5, e as i32]) {
                missing.push(of.name().to_owned());
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}
