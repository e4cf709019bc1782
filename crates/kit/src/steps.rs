//! Writes by their names, so that a test can make each of them fail, or kill the process before or after its commit.
//!
//! A service lists its writes once with [`define_steps!`](crate::define_steps) and writes through [`Db::step`],
//! [`Db::commit`] and [`Db::single`](crate::db::Db::single), which ask for one of them. Outside of tests nothing stands
//! at a step, and passing it costs a look at an empty pointer: nothing that a process is started with can put a fault
//! there, only [`Env::with_faults`](crate::config::Env::with_faults).
//!
//! [`Db::step`]: crate::db::Db::step
//! [`Db::commit`]: crate::db::Db::commit

use std::{fmt, sync::Arc};

use crate::{ApiError, ApiResult};

/// One write of a service.
pub trait Step: Copy + Send + Sync + 'static {
    /// Its name, unique in the service. That of an event consumer's writes is the consumer's.
    fn name(self) -> &'static str;
}

/// Where at a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// Everything is written, nothing is committed.
    BeforeCommit,
    /// It is committed, nobody knows yet.
    AfterCommit,
}

/// What happens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It fails, as when the database does not answer.
    Fail,
    /// Whoever was at it never goes on, as in a process that died. The transaction's connection is given up.
    Die,
}

type Decide = dyn Fn(&'static str, Moment) -> Option<Fault> + Send + Sync;

/// What stands at the writes of a role; by default nothing.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<Decide>>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults").field(&self.0.is_some()).finish()
    }
}

impl Faults {
    /// Asks this at every write: its name ("" for one that is not listed), and where.
    pub fn new(decide: impl Fn(&'static str, Moment) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(decide)))
    }

    fn at(&self, step: &'static str, moment: Moment) -> Option<Fault> {
        self.0.as_ref().and_then(|decide| decide(step, moment))
    }

    /// Passes a step, giving `held` up where it ends there.
    pub(crate) async fn pass<T>(&self, step: &'static str, moment: Moment, held: T) -> ApiResult<T> {
        match self.at(step, moment) {
            None => Ok(held),
            Some(Fault::Fail) => Err(ApiError::unavailable("the database", sqlx::Error::WorkerCrashed)),
            Some(Fault::Die) => {
                drop(held);
                std::future::pending().await
            }
        }
    }
}

/// Lists the writes of a service: `define_steps!(/// The writes. Step { /// Seats are held. Hold = "hold", … });`
#[macro_export]
macro_rules! define_steps {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant),+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
        }

        impl $crate::steps::Step for $name {
            fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }
        }
    };
}
