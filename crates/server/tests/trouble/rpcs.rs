//! What there is to call, as the .proto files say it, and messages for it.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto};
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) const CONTROL: &str = "modal.client.ModalClient";
pub(crate) const ROUTER: &str = "modal.task_command_router.TaskCommandRouter";

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Rpc {
    pub(crate) service: String,
    pub(crate) name: String,
    /// Full name of its request.
    pub(crate) input: String,
}

impl Rpc {
    pub(crate) fn path(&self) -> String {
        format!("/{}/{}", self.service, self.name)
    }
}

/// All of it.
pub(crate) struct Protos {
    pub(crate) rpcs: Vec<Rpc>,
    messages: BTreeMap<String, DescriptorProto>,
}

impl Protos {
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../modal-proto/proto");
        let set = protox::compile(["modal/client.proto", "modal/router.proto"], [root]).unwrap();
        let mut protos = Self { rpcs: Vec::new(), messages: BTreeMap::new() };
        for file in &set.file {
            for message in &file.message_type {
                protos.add(file.package(), message);
            }
            for service in &file.service {
                protos.rpcs.extend(service.method.iter().map(|method| Rpc {
                    service: format!("{}.{}", file.package(), service.name()),
                    name: method.name().to_owned(),
                    input: method.input_type().trim_start_matches('.').to_owned(),
                }));
            }
        }
        protos
    }

    fn add(&mut self, package: &str, message: &DescriptorProto) {
        let name = format!("{package}.{}", message.name());
        for nested in &message.nested_type {
            self.add(&name, nested);
        }
        self.messages.insert(name, message.clone());
    }

    pub(crate) fn of(&self, service: &str) -> Vec<Rpc> {
        self.rpcs.iter().filter(|rpc| rpc.service == service).cloned().collect()
    }

    /// Where texts stand in a message, also in the messages in it: the path of names.
    pub(crate) fn texts(&self, message: &str) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        self.walk(message, &mut Vec::new(), &mut found);
        found
    }

    fn walk(&self, message: &str, above: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
        let Some(message) = self.messages.get(message).filter(|_| above.len() < 5) else { return };
        for field in &message.field {
            above.push(field.name().to_owned());
            match field.r#type() {
                Type::String => found.push(above.clone()),
                Type::Message => self.walk(field.type_name().trim_start_matches('.'), above, found),
                _ => {}
            }
            above.pop();
        }
    }

    /// A message in which each text is what `value` says of its path. Of a choice it has the one that is on the path `chosen`, or
    /// none.
    pub(crate) fn message(&self, name: &str, chosen: &[String], value: &dyn Fn(&[String]) -> Option<String>) -> Bytes {
        let mut bytes = BytesMut::new();
        self.write(name, chosen, value, &mut Vec::new(), &mut bytes);
        bytes.freeze()
    }

    fn write(
        &self,
        name: &str,
        chosen: &[String],
        value: &dyn Fn(&[String]) -> Option<String>,
        above: &mut Vec<String>,
        bytes: &mut BytesMut,
    ) {
        let Some(message) = self.messages.get(name).filter(|_| above.len() < 5) else { return };
        for field in &message.field {
            above.push(field.name().to_owned());
            let on_path = chosen.starts_with(above);
            if on_path || !is_choice(field) {
                match field.r#type() {
                    Type::String => {
                        if let Some(text) = value(above) {
                            put(bytes, field.number(), text.as_bytes());
                        }
                    }
                    Type::Message => {
                        let mut inner = BytesMut::new();
                        let inner_name = field.type_name().trim_start_matches('.').to_owned();
                        self.write(&inner_name, chosen, value, above, &mut inner);
                        if on_path || !inner.is_empty() {
                            put(bytes, field.number(), &inner);
                        }
                    }
                    _ => {}
                }
            }
            above.pop();
        }
    }

    /// A message with something in every field, as far as types tell: one after the other of each of `kinds` is possible.
    pub(crate) fn filled(&self, name: &str, text: &str, number: u64) -> Bytes {
        let mut bytes = BytesMut::new();
        self.fill(name, text, number, 0, &mut bytes);
        bytes.freeze()
    }

    fn fill(&self, name: &str, text: &str, number: u64, depth: usize, bytes: &mut BytesMut) {
        let Some(message) = self.messages.get(name).filter(|_| depth < 4) else { return };
        for field in &message.field {
            match field.r#type() {
                Type::String | Type::Bytes => put(bytes, field.number(), text.as_bytes()),
                Type::Message => {
                    let mut inner = BytesMut::new();
                    self.fill(field.type_name().trim_start_matches('.'), text, number, depth + 1, &mut inner);
                    put(bytes, field.number(), &inner);
                }
                Type::Float => {
                    varint(bytes, key(field.number(), 5));
                    bytes.put_u32_le(u32::try_from(number & 0xffff_ffff).unwrap());
                }
                Type::Double => {
                    varint(bytes, key(field.number(), 1));
                    bytes.put_u64_le(number);
                }
                _ if field.label() == Label::Repeated => {}
                _ => {
                    varint(bytes, key(field.number(), 0));
                    varint(bytes, number);
                }
            }
        }
    }
}

fn is_choice(field: &FieldDescriptorProto) -> bool {
    field.oneof_index.is_some() && !field.proto3_optional()
}

fn key(number: i32, wire_type: u64) -> u64 {
    u64::try_from(number).unwrap() << 3 | wire_type
}

/// A field with a length.
pub(crate) fn put(bytes: &mut BytesMut, number: i32, value: &[u8]) {
    varint(bytes, key(number, 2));
    varint(bytes, value.len() as u64);
    bytes.put_slice(value);
}

/// A field with a number.
pub(crate) fn put_number(bytes: &mut BytesMut, number: i32, value: u64) {
    varint(bytes, key(number, 0));
    varint(bytes, value);
}

fn varint(bytes: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        bytes.put_u8(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.put_u8(u8::try_from(value).unwrap());
}
