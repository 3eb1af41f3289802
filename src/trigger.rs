//! Triggers: the external sources that request a reconciliation, and the channel to the controller.
//!
//! A trigger says *look again at this*, nothing more: it carries no secret and no instruction. A lost
//! trigger is harmless, because the next one repairs it; so is a duplicate. Every external source ([`sqs`],
//! [`webhook`], [`poll`]) sends [`TriggerEvent`]s through the same [`TriggerSender`].

pub mod ack;
pub mod aws_event;
pub mod channel;
pub mod poll;
pub mod sqs;
pub mod webhook;

pub use crate::trigger_kind::Trigger;
pub use ack::{Ack, AckOutcome};
pub use channel::{TriggerEvent, TriggerReceiver, TriggerScope, TriggerSender};
