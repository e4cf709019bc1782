//! Messages of other shapes than the API has: what compiles, how deep it is walked, how wide numbers are.

use prost::Message as _;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MessageOptions,
    MethodDescriptorProto, ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

use super::{super::*, is_malformed};

/// Rules of the API and of one more method, Test.Call, whose request has these fields.
fn rules_with(fields: Vec<FieldDescriptorProto>) -> Result<Rules, String> {
    let entry = DescriptorProto {
        name: Some("F1Entry".to_owned()),
        field: ["key", "value"]
            .into_iter()
            .zip(1..)
            .map(|(name, n)| FieldDescriptorProto {
                name: Some(name.to_owned()),
                ..field(n, Type::String, Label::Optional)
            })
            .collect(),
        options: Some(MessageOptions { map_entry: Some(true), ..Default::default() }),
        ..Default::default()
    };
    let file = FileDescriptorProto {
        name: Some("test.proto".to_owned()),
        package: Some("test".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![DescriptorProto {
            name: Some("Node".to_owned()),
            field: fields,
            nested_type: vec![entry],
            ..Default::default()
        }],
        service: vec![ServiceDescriptorProto {
            name: Some("Test".to_owned()),
            method: vec![MethodDescriptorProto {
                name: Some("Call".to_owned()),
                input_type: Some(".test.Node".to_owned()),
                output_type: Some(".test.Node".to_owned()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    // Sets of files that are written one after the other are one set.
    let more = FileDescriptorSet { file: vec![file] }.encode_to_vec();
    Rules::of(&[tourmesh::DESCRIPTORS, &more].concat())
}

fn field(number: i32, kind: Type, label: Label) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(format!("f{number}")),
        number: Some(number),
        label: Some(label as i32),
        r#type: Some(kind as i32),
        type_name: (kind == Type::Message).then(|| ".test.Node".to_owned()),
        ..Default::default()
    }
}

#[test]
fn a_message_that_holds_itself_compiles_and_is_walked_32_deep() {
    let rules = rules_with(vec![field(1, Type::Message, Label::Optional)]).unwrap();
    let call = rules.method("/test.Test/Call").unwrap();
    assert_eq!(*call.access(), Access::Nobody, "no access option");
    let nested = |depth: usize| {
        let mut bytes = Vec::new();
        for _ in 1..depth {
            let len = bytes.len();
            let mut outer = vec![0x0a];
            prost::encode_length_delimiter(len, &mut outer).unwrap();
            outer.append(&mut bytes);
            bytes = outer;
        }
        bytes
    };
    assert!(call.validate(&nested(32)).is_ok());
    let error = call.validate(&nested(33)).unwrap_err();
    assert!(is_malformed(&error) && error.message().ends_with("f1: the messages are nested too deep"), "{error}");
    assert!(is_malformed(&call.validate(&nested(10_000)).unwrap_err()));
}

#[test]
fn what_has_no_rules_does_not_compile() {
    let numbers = 1..=i32::try_from(plan::MAX_FIELDS).unwrap() + 1;
    let too_many = numbers.map(|n| field(n, Type::Bool, Label::Optional)).collect();
    assert!(rules_with(too_many).unwrap_err().contains("more than"));
    let map = FieldDescriptorProto {
        type_name: Some(".test.Node.F1Entry".to_owned()),
        ..field(1, Type::Message, Label::Repeated)
    };
    assert!(rules_with(vec![map]).unwrap_err().starts_with("test.Node.f1 is a map"));
}

#[test]
fn every_kind_of_number_is_read_at_its_own_width() {
    use Type as T;
    #[rustfmt::skip]
    let kinds = [
        T::Int32, T::Int64, T::Uint32, T::Uint64, T::Sint32, T::Sint64, T::Bool, T::Fixed32, T::Sfixed32, T::Float,
        T::Fixed64, T::Sfixed64, T::Double,
    ];
    for label in [Label::Optional, Label::Repeated] {
        let fields = (1..).zip(kinds).map(|(n, kind)| field(n, kind, label)).collect();
        let rules = rules_with(fields).unwrap();
        let call = rules.method("/test.Test/Call").unwrap();
        for (number, kind) in (1_u8..).zip(kinds) {
            let (wire, value): (u8, &[u8]) = match kind {
                T::Fixed32 | T::Sfixed32 | T::Float => (5, &[0xff; 4]),
                T::Fixed64 | T::Sfixed64 | T::Double => (1, &[0xff; 8]),
                _ => (0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            };
            for other in [0, 1, 2, 5] {
                let mut bytes = vec![number << 3 | other];
                if other == 2 {
                    bytes.push(u8::try_from(value.len() * 2).unwrap());
                    bytes.extend_from_slice(value);
                }
                bytes.extend_from_slice(value);
                let fits = other == wire || (other == 2 && label == Label::Repeated);
                assert_eq!(call.validate(&bytes).is_ok(), fits, "{kind:?} {label:?} {other}");
                bytes.pop();
                assert!(is_malformed(&call.validate(&bytes).unwrap_err()), "{kind:?} {label:?} {other}");
            }
        }
    }
}
