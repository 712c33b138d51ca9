//! E-mail by SMTP.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::Error as SmtpError;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::config::MailConfig;
use crate::notifier::Sent;

/// How long a mail server may take for one mail, beginning with the connection.
const MAIL_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends mails, each over a connection of its own.
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Smtp {
    /// Makes it; nothing is connected yet.
    ///
    /// # Errors
    /// The URL is none that can be used. Its text is not repeated: it holds a password.
    pub fn new(config: &MailConfig) -> Result<Self, SmtpError> {
        callfold_kit::http::install_tls();
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(config.url.expose().trim())?
            .timeout(Some(MAIL_TIMEOUT))
            .build();
        Ok(Self {
            transport,
            from: config.from.clone(),
        })
    }

    /// Sends one mail. `id` is the same for the same news to the same person.
    pub(crate) async fn send(&self, to: &str, subject: String, text: String, id: &str) -> Sent {
        let Ok(to) = to.parse::<Mailbox>() else {
            return Sent::Refused("no address");
        };
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(subject)
            .message_id(Some(format!("<{id}@callfold>")))
            .header(ContentType::TEXT_PLAIN)
            .body(text);
        let Ok(message) = message else {
            return Sent::Refused("no mail could be made of it");
        };
        match tokio::time::timeout(MAIL_TIMEOUT, self.transport.send(message)).await {
            Ok(Ok(_)) => Sent::Taken,
            Ok(Err(error)) if error.is_permanent() => Sent::Refused("the mail server refuses it for good"),
            Ok(Err(error)) if error.is_transient() => Sent::Later {
                why: "the mail server refuses it for now",
                after: None,
            },
            Ok(Err(_)) => Sent::Later {
                why: "the mail server cannot be reached, or does not speak as it should",
                after: None,
            },
            Err(_) => Sent::Later {
                why: "the mail server takes too long",
                after: None,
            },
        }
    }
}
