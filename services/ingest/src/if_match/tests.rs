use super::*;

fn expected() -> ExpectedEnd {
    ExpectedEnd {
        last: "0001-0007-0001-00000000000000000042-0003".parse().unwrap(),
        tenant: TenantId::default_tenant(),
        conversation: ConversationId::new("c").unwrap(),
    }
}

#[test]
fn nothing_is_claimed_about_an_append_whose_acknowledgement_was_lost() {
    let answer = |reason, may_be_stored| expected().unsettled(reason, may_be_stored);
    let busy = || Unsettled::PartitionBusy;
    let out_of_reach = || Unsettled::End(EndError::OutOfReach);
    for (reason, code) in [
        (busy(), "partition_busy"),
        (out_of_reach(), "position_out_of_reach"),
    ] {
        let problem = answer(reason, false);
        assert_eq!(problem.code, code);
        assert!(problem.detail.contains("this request stored nothing"));
        assert!(problem.detail.contains("the same event ids"));
    }
    for reason in [busy(), out_of_reach()] {
        let problem = answer(reason, true);
        assert_eq!(
            (problem.status.as_u16(), problem.code),
            (503, "outcome_unknown")
        );
        assert!(problem.detail.contains("may have been stored"));
        assert!(problem.detail.contains("the same event ids"));
    }
}

#[test]
fn a_refusal_says_whether_it_knows_of_earlier_attempts() {
    let at = |seq| Position::new(expected().last.partition, seq, 0);
    let decide = |end: ConversationEnd, reaches, may_be_stored| {
        let end = end.known(reaches).map(|end| (end, 100));
        let end = end.ok_or(Unsettled::End(EndError::OutOfReach));
        expected().decide(end, may_be_stored).unwrap_err()
    };
    let elsewhere = || ConversationEnd::Elsewhere(Some(at(90)));
    let check = |problem: Problem, code, text| {
        assert_eq!(problem.code, code);
        assert!(problem.detail.contains(text), "{}", problem.detail);
    };
    // The log was read from the expected position on, so it is known.
    for may_be_stored in [false, true] {
        let known = decide(elsewhere(), true, may_be_stored);
        check(known, "position_mismatch", "nothing was stored");
        let unreadable = decide(ConversationEnd::Unreadable(90), true, may_be_stored);
        check(unreadable, "end_unknown", "nothing was stored");
    }
    let unknown = decide(elsewhere(), false, false);
    assert_eq!(unknown.current, Some(at(90).to_string()));
    check(
        unknown,
        "position_mismatch",
        "whether an earlier one with the same ids did",
    );
    check(
        decide(elsewhere(), false, true),
        "outcome_unknown",
        "may have been stored",
    );
    let nothing = decide(ConversationEnd::Expected, false, true);
    check(nothing, "outcome_unknown", "may have been stored");
}
