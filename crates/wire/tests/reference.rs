//! `proto/REFERENCE.md`, the reference of the services that programs call, is generated from the comments in `proto/`.
//!
//! `FASTNESS_UPDATE=1 cargo test -p fastness-wire --test reference` writes it anew.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// The packages that are described, in this order.
const PACKAGES: [&str; 3] = ["fastness.v1", "fastness.admin.v1", "fastness.lab.v1"];
const HEAD: &str = "# Reference of the gRPC services\n\nGenerated from the comments in `proto/` by \
                    `FASTNESS_UPDATE=1 cargo test -p fastness-wire --test reference`.\n\
                    [README.md](README.md) says what a client has to know.\n";

// Numbers of the fields of FileDescriptorProto and its parts, which are the steps of a path to a comment.
const FILE_MESSAGE: i32 = 4;
const FILE_ENUM: i32 = 5;
const FILE_SERVICE: i32 = 6;
const SERVICE_METHOD: i32 = 2;
const MESSAGE_FIELD: i32 = 2;
const MESSAGE_NESTED: i32 = 3;
const MESSAGE_ENUM: i32 = 4;
const ENUM_VALUE: i32 = 2;

/// The comments of a file, by path.
struct Page<'a> {
    comments: BTreeMap<&'a [i32], &'a str>,
    package: &'a str,
    text: String,
}

impl<'a> Page<'a> {
    fn new(file: &'a FileDescriptorProto) -> Page<'a> {
        let locations = file.source_code_info.as_ref().map_or(&[][..], |info| &info.location);
        let comments = locations.iter().filter_map(|at| Some((&*at.path, at.leading_comments.as_deref()?))).collect();
        Page { comments, package: file.package(), text: String::new() }
    }

    /// A comment as paragraphs and lists.
    fn comment(&self, path: &[i32]) -> String {
        let lines = self.comments.get(path).copied().unwrap_or_default().lines();
        lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n").trim().to_owned()
    }

    /// A comment in a cell of a table.
    fn cell(&self, path: &[i32]) -> String {
        self.comment(path).replace('\n', " ").replace('|', "\\|")
    }

    fn paragraph(&mut self, text: &str) {
        if !text.is_empty() {
            let _ = write!(self.text, "\n{text}\n");
        }
    }

    fn services(&mut self, file: &FileDescriptorProto) {
        for (at, service) in (0..).zip(&file.service) {
            let _ = write!(self.text, "\n### `{}.{}`\n", self.package, service.name());
            let comment = self.comment(&[FILE_SERVICE, at]);
            self.paragraph(&comment);
            self.text += "\n| call | request | response | |\n|---|---|---|---|\n";
            for (number, method) in (0..).zip(&service.method) {
                let of = |streams: bool, name: &str| {
                    format!("{}{}", if streams { "stream of " } else { "" }, self.link(name))
                };
                let request = of(method.client_streaming(), method.input_type());
                let response = of(method.server_streaming(), method.output_type());
                let comment = self.cell(&[FILE_SERVICE, at, SERVICE_METHOD, number]);
                let _ = writeln!(self.text, "| `{}` | {request} | {response} | {comment} |", method.name());
            }
        }
    }

    /// A type's name without the package, as a link if it is described on this page.
    fn link(&self, name: &str) -> String {
        let own = name.strip_prefix('.').and_then(|name| name.strip_prefix(self.package)?.strip_prefix('.'));
        match own {
            Some(own) => format!("[{own}](#{})", anchor(own)),
            None => format!("`{}`", name.trim_start_matches('.')),
        }
    }

    fn message(&mut self, scope: &str, message: &DescriptorProto, path: &[i32]) {
        let name = format!("{scope}{}", message.name());
        let is_map = message.options.as_ref().is_some_and(|options| options.map_entry());
        if is_map {
            return;
        }
        let _ = write!(self.text, "\n#### {name}\n");
        let comment = self.comment(path);
        self.paragraph(&comment);
        if !message.field.is_empty() {
            self.text += "\n| field | number | type | |\n|---|---|---|---|\n";
        }
        for (at, field) in (0..).zip(&message.field) {
            let comment = self.cell(&[path, &[MESSAGE_FIELD, at]].concat());
            let kind = self.kind(message, field);
            let _ = writeln!(self.text, "| `{}` | {} | {kind} | {comment} |", field.name(), field.number());
        }
        for (at, nested) in (0..).zip(&message.nested_type) {
            self.message(&format!("{name}."), nested, &[path, &[MESSAGE_NESTED, at]].concat());
        }
        for (at, of) in (0..).zip(&message.enum_type) {
            self.enumeration(&format!("{name}."), of, &[path, &[MESSAGE_ENUM, at]].concat());
        }
    }

    fn kind(&self, message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
        let entry =
            message.nested_type.iter().find(|nested| field.type_name().ends_with(&format!(".{}", nested.name())));
        if let Some(entry) = entry.filter(|entry| entry.options.as_ref().is_some_and(|options| options.map_entry())) {
            let of = |at: usize| self.kind(entry, &entry.field[at]);
            return format!("map of {} to {}", of(0), of(1));
        }
        let name = match field.r#type() {
            Type::Message | Type::Enum => self.link(field.type_name()),
            scalar => format!("{scalar:?}").to_lowercase(),
        };
        match field.oneof_index {
            _ if field.label() == Label::Repeated => format!("repeated {name}"),
            Some(_) if field.proto3_optional() => format!("optional {name}"),
            Some(at) => format!("{name}, one of `{}`", message.oneof_decl[at as usize].name()),
            None => name,
        }
    }

    fn enumeration(&mut self, scope: &str, of: &EnumDescriptorProto, path: &[i32]) {
        let _ = write!(self.text, "\n#### {scope}{}\n", of.name());
        let comment = self.comment(path);
        self.paragraph(&comment);
        self.text += "\n| value | number | |\n|---|---|---|\n";
        for (at, value) in (0..).zip(&of.value) {
            let comment = self.cell(&[path, &[ENUM_VALUE, at]].concat());
            let _ = writeln!(self.text, "| `{}` | {} | {comment} |", value.name(), value.number());
        }
    }
}

/// As pages are rendered: lower case, without dots.
fn anchor(name: &str) -> String {
    name.to_lowercase().replace('.', "")
}

fn reference() -> String {
    let set = FileDescriptorSet::decode(fastness_wire::FILE_DESCRIPTOR_SET).unwrap();
    let mut text = HEAD.to_owned();
    for package in PACKAGES {
        let _ = write!(text, "\n## `{package}`\n");
        for file in set.file.iter().filter(|file| file.package() == package) {
            let mut page = Page::new(file);
            page.services(file);
            for (at, message) in (0..).zip(&file.message_type) {
                page.message("", message, &[FILE_MESSAGE, at]);
            }
            for (at, of) in (0..).zip(&file.enum_type) {
                page.enumeration("", of, &[FILE_ENUM, at]);
            }
            text += &page.text;
        }
    }
    text
}

#[test]
fn the_reference_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/REFERENCE.md");
    let page = reference();
    assert!(page.contains("OUTCOME_UNKNOWN"), "the comments are missing");
    if std::env::var_os("FASTNESS_UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(page.lines()).position(|(written, page)| written != page);
    assert!(written == page, "REFERENCE.md is not current (line {differs:?}): run this test with FASTNESS_UPDATE=1");
}
