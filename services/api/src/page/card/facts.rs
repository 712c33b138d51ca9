//! The caller's details.

use callfold_lead::Lead;
use callfold_schema::event::Urgency;

use super::super::Frame;
use super::super::row::{SaidNumberView, message_length, non_empty};
use crate::show;

/// A detail.
pub(crate) struct FactView {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    pub(crate) direction: &'static str,
    pub(crate) is_id: bool,
    /// What it leads to.
    pub(crate) href: Option<String>,
}

pub(super) fn facts(lead: &Lead, f: &Frame) -> Vec<FactView> {
    let w = &f.w.card;
    let mut facts = Vec::new();
    let mut add = |name, value: Option<String>, direction| {
        if let Some(value) = value {
            facts.push(FactView {
                name,
                value,
                direction,
                is_id: false,
                href: None,
            });
        }
    };
    let number = |number: &callfold_schema::PhoneNumber| {
        if show::is_withheld(number) {
            None
        } else {
            Some(show::phone(number))
        }
    };
    let caller = &lead.caller;
    add(w.said_name, non_empty(lead.caller_name.as_deref()), "auto");
    add(w.caller_name, caller.name.clone(), "auto");
    add(w.caller_number, number(&lead.phone), "ltr");
    // The country alone says no more than the number.
    let is_known = caller.city.is_some() || caller.state.is_some();
    let place: Vec<&str> = [&caller.city, &caller.state, &caller.country]
        .into_iter()
        .filter_map(|part| part.as_deref())
        .collect();
    add(w.caller_place, is_known.then(|| place.join(", ")), "auto");
    add(
        w.forwarded_from,
        caller.forwarded_from.as_ref().and_then(number),
        "ltr",
    );
    add(w.our_number, number(&lead.to), "ltr");
    add(
        w.received,
        Some(show::full(lead.created_at.0, &f.timezone)),
        "ltr",
    );
    add(
        w.call_length,
        lead.call.duration_s.map(|s| show::length(u64::from(s))),
        "ltr",
    );
    add(w.message_length, message_length(lead), "ltr");
    add(w.recognised_by, lead.engines.transcribe.clone(), "ltr");
    add(w.topic, non_empty(lead.topic.as_deref()), "auto");
    let urgency = lead.urgency.map(|urgency| match urgency {
        Urgency::Low => w.urgency_low,
        Urgency::Normal => w.urgency_normal,
        Urgency::High => w.urgency_high,
    });
    add(w.urgency, urgency.map(str::to_owned), "auto");
    if let Some(said) = SaidNumberView::of(lead) {
        facts.insert(
            0,
            FactView {
                name: w.callback_number,
                value: said.text,
                direction: "ltr",
                is_id: false,
                href: said.tel.map(|tel| format!("tel:{tel}")),
            },
        );
    }
    facts.push(FactView {
        name: w.call_id,
        value: lead.call_sid.to_string(),
        direction: "ltr",
        is_id: true,
        href: None,
    });
    facts
}
