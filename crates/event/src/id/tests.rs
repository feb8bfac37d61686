use super::{ConversationId, EventId, EventType, IdError, TenantId};

#[test]
fn ordinary_conversation_ids_are_accepted() {
    for text in [
        "c-1",
        "9fe6621d-92e4-57d0-8d4b-1289c3df8caa",
        "team/a/run:7",
        "a@b.c",
        "...",
    ] {
        assert_eq!(ConversationId::new(text).unwrap().as_str(), text);
    }
}

#[test]
fn ids_that_could_confuse_a_path_or_a_person_are_refused() {
    for text in [
        "",
        "../etc/passwd",
        "a/../b",
        "..",
        ".",
        "🦀",
        "a b",
        "a\0b",
        "a\nb",
        "ünï",
    ] {
        ConversationId::new(text).unwrap_err();
    }
    let long = "x".repeat(257);
    assert_eq!(
        ConversationId::new(&long),
        Err(IdError::TooLong {
            what: "conversation_id",
            len: 257,
            max: 256
        })
    );
}

#[test]
fn the_error_names_the_character_and_what_is_allowed() {
    let error = EventType::new("output chunk").unwrap_err();
    assert_eq!(
        error.to_string(),
        "type contains ' '; allowed are ASCII letters, digits and - _ . : /"
    );
}

#[test]
fn a_uuid_is_itself_and_any_other_text_is_hashed_within_its_conversation() {
    let tenant = TenantId::default_tenant();
    let (a, b) = (
        ConversationId::new("a").unwrap(),
        ConversationId::new("b").unwrap(),
    );
    let uuid = "62f26b9d-ad80-54cc-86e4-041d40cd129d";
    let (id, hashed) = EventId::from_text(&tenant, &a, uuid).unwrap();
    assert_eq!((id.to_string().as_str(), hashed), (uuid, false));

    let (first, hashed) = EventId::from_text(&tenant, &a, "step-1 🦀").unwrap();
    let (again, _) = EventId::from_text(&tenant, &a, "step-1 🦀").unwrap();
    let (other, _) = EventId::from_text(&tenant, &b, "step-1 🦀").unwrap();
    assert!(hashed);
    assert_eq!(first, again);
    assert_ne!(first, other);
    let (upper, hashed) = EventId::from_text(&tenant, &a, &uuid.to_uppercase()).unwrap();
    assert!(hashed && upper != id, "an unusual spelling is kept as text");
}

#[test]
fn an_event_id_with_a_control_character_is_refused() {
    let (tenant, a) = (
        TenantId::default_tenant(),
        ConversationId::new("a").unwrap(),
    );
    EventId::from_text(&tenant, &a, "x\u{0}y").unwrap_err();
    EventId::from_text(&tenant, &a, "").unwrap_err();
    EventId::from_text(&tenant, &a, &"x".repeat(129)).unwrap_err();
}
