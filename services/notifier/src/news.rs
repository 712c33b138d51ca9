//! What is said: the headline and where the card is. No number, no transcript.

use callfold_schema::CallSid;
use serde_json::json;
use url::Url;

/// The longest headline in a message, in characters.
const HEADLINE_CHARS_MAX: usize = 150;

/// The texts of one language.
struct Texts {
    language: &'static str,
    direction: &'static str,
    new_lead: &'static str,
    no_headline: &'static str,
    open: &'static str,
    why: &'static str,
}

const HEBREW: Texts = Texts {
    language: "he",
    direction: "rtl",
    new_lead: "ליד חדש",
    no_headline: "התקבלה הודעה חדשה",
    open: "לכרטיס:",
    why: "ההודעה נשלחה כי כך נבחר ב„ההגדרות שלי”.",
};

const ENGLISH: Texts = Texts {
    language: "en",
    direction: "ltr",
    new_lead: "New lead",
    no_headline: "A new message has arrived",
    open: "The card:",
    why: "You are told because you chose so in “My settings”.",
};

fn texts(language: Option<&str>) -> &'static Texts {
    match language {
        Some(tag) if tag.starts_with("en") => &ENGLISH,
        _ => &HEBREW,
    }
}

/// What there is to tell of a call.
pub(crate) struct News<'a> {
    pub(crate) call_sid: &'a CallSid,
    pub(crate) title: &'a str,
    pub(crate) public_url: Option<&'a Url>,
}

impl News<'_> {
    /// One line: a headline is a stranger's text, and a line break in it would be a header of its own.
    fn headline(&self, texts: &Texts) -> String {
        let words: Vec<&str> = self
            .title
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| !word.is_empty())
            .collect();
        let line = words.join(" ");
        if line.is_empty() {
            return texts.no_headline.to_owned();
        }
        line.chars().take(HEADLINE_CHARS_MAX).collect()
    }

    fn path(&self) -> String {
        format!("/leads/{}", self.call_sid)
    }

    /// Subject and text of a mail.
    pub(crate) fn mail(&self, language: Option<&str>) -> (String, String) {
        let texts = texts(language);
        let headline = self.headline(texts);
        let mut text = format!("{headline}\n");
        if let Some(url) = self.public_url {
            let base = url.as_str().trim_end_matches('/');
            text.push_str(&format!("\n{} {base}{}\n", texts.open, self.path()));
        }
        text.push_str(&format!("\n{}\n", texts.why));
        (format!("{}: {headline}", texts.new_lead), text)
    }

    /// What the service worker is sent.
    pub(crate) fn push(&self, language: Option<&str>) -> Vec<u8> {
        let texts = texts(language);
        json!({
            "title": texts.new_lead,
            "body": self.headline(texts),
            "lang": texts.language,
            "dir": texts.direction,
            "path": self.path(),
            // A message of the same tag replaces the one before.
            "tag": self.call_sid.as_str(),
        })
        .to_string()
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_headline_is_one_short_line_and_the_link_leads_to_the_card() {
        let call_sid = CallSid::parse("CA1").expect("a CallSid");
        let url = Url::parse("https://leads.example.com/").expect("a URL");
        let long = "א".repeat(400);
        let news = |title| News {
            call_sid: &call_sid,
            title,
            public_url: Some(&url),
        };
        let (subject, text) = news("Kitchen\r\nBcc: x@example.com").mail(Some("en"));
        assert_eq!(subject, "New lead: Kitchen Bcc: x@example.com");
        assert!(text.contains("https://leads.example.com/leads/CA1\n"));
        let (subject, _) = news(&long).mail(None);
        assert_eq!(
            subject.chars().count(),
            "ליד חדש: ".chars().count() + HEADLINE_CHARS_MAX
        );
        let (subject, _) = news(" \n").mail(None);
        assert_eq!(subject, "ליד חדש: התקבלה הודעה חדשה");
        let pushed: serde_json::Value = serde_json::from_slice(&news("נזילה").push(None)).expect("JSON");
        assert_eq!(pushed["body"], "נזילה");
        assert_eq!(
            (&pushed["dir"], &pushed["path"]),
            (&json!("rtl"), &json!("/leads/CA1"))
        );
        let bare = News {
            public_url: None,
            ..news("x")
        };
        assert!(!bare.mail(None).1.contains("/leads/"));
    }
}
