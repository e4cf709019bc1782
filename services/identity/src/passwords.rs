//! Password hashes: argon2id, on few threads at once, and as slow for an unknown address as for a wrong password.
//!
//! Sign-ups wait in a queue of their own and have the smaller share of the processors: anybody can send them, and those
//! who have an account should get in meanwhile.

use std::{fmt, sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version, password_hash::phc::PasswordHash,
};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use kit::{ApiError, ApiResult};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::Semaphore;
use tourmesh_kit as kit;

/// What one hash costs: memory and passes, on one lane.
#[derive(Debug, Clone)]
pub struct Cost(Params);

impl Cost {
    /// So much memory and so many passes.
    ///
    /// # Errors
    /// When argon2 does not take them.
    pub fn new(memory_kib: u32, passes: u32) -> Result<Self, argon2::Error> {
        Params::new(memory_kib, passes, 1, None).map(Self)
    }
}

/// A password hash in PHC form. It is not shown by `Debug`.
#[derive(Clone)]
pub struct Hash(pub(crate) String);

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(…)")
    }
}

/// Makes and compares hashes. Clones share the queue.
#[derive(Debug, Clone)]
pub struct Passwords {
    cost: Cost,
    /// What is compared with when there is no account, so that the answer takes as long.
    nobody: Hash,
    /// One permit per processor: more hashes at once are not faster, they only take more memory.
    running: Arc<Semaphore>,
    /// What this queue may take of them.
    share: Arc<Semaphore>,
    /// One permit per caller that runs or waits.
    admitted: Arc<Semaphore>,
}

impl Passwords {
    /// Hashes at this cost, with so many callers waiting at most.
    pub fn new(cost: Cost, queue: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            nobody: nobody(&cost),
            cost,
            running: Arc::new(Semaphore::new(processors)),
            share: Arc::new(Semaphore::new(processors)),
            admitted: Arc::new(Semaphore::new(processors + queue)),
        }
    }

    /// A second queue for the same processors, of which it gets half at most.
    #[must_use]
    pub fn smaller_share(&self, queue: usize) -> Self {
        let share = std::thread::available_parallelism().map_or(2, usize::from).div_ceil(2);
        let mut other = self.clone();
        other.share = Arc::new(Semaphore::new(share));
        other.admitted = Arc::new(Semaphore::new(share + queue));
        other
    }

    /// Hashes a new password with a new salt.
    ///
    /// # Errors
    /// OVERLOADED when too many wait.
    pub async fn hash(&self, password: &str) -> ApiResult<Hash> {
        let password = password.to_owned();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.cost.0.clone());
        self.run(move || argon2.hash_password(password.as_bytes()).map(|hash| Hash(hash.to_string())))
            .await?
            .map_err(|e| ApiError::internal(e.to_string()))
    }

    /// Compares a password with an account's hash; without an account it takes as long and is never right.
    ///
    /// # Errors
    /// OVERLOADED when too many wait.
    pub async fn verify(&self, password: &str, account: Option<&Hash>) -> ApiResult<bool> {
        let exists = account.is_some();
        let hash = account.unwrap_or(&self.nobody).clone();
        let password = password.to_owned();
        self.run(move || {
            // The cost comes from the hash itself, so that old accounts survive a change of the settings.
            let hash = PasswordHash::new(&hash.0).map_err(|e| ApiError::internal(e.to_string()))?;
            Ok(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok() && exists)
        })
        .await?
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> ApiResult<T> {
        let overloaded = || ApiError::overloaded(Duration::from_secs(1));
        let admitted = self.admitted.clone().try_acquire_owned().map_err(|_| overloaded())?;
        let share = self.share.clone().acquire_owned().await.map_err(|_| overloaded())?;
        let running = self.running.clone().acquire_owned().await.map_err(|_| overloaded())?;
        tokio::task::spawn_blocking(move || {
            let value = work();
            // A caller that goes away does not stop the work, so the permits belong to the work.
            drop((admitted, share, running));
            value
        })
        .await
        .map_err(ApiError::internal)
    }
}

/// A well-formed hash that no password has: random bytes, at the cost of a real one.
fn nobody(cost: &Cost) -> Hash {
    let (mut salt, mut output) = ([0; 16], [0; 32]);
    let random = SystemRandom::new();
    // Without randomness it is still a hash whose password nobody knows, and `verify` never accepts it anyway.
    let _ = random.fill(&mut salt).and_then(|()| random.fill(&mut output));
    let (memory, passes) = (cost.0.m_cost(), cost.0.t_cost());
    let (salt, output) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output));
    Hash(format!("$argon2id$v=19$m={memory},t={passes},p=1${salt}${output}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap(queue: usize) -> Passwords {
        Passwords::new(Cost::new(64, 1).unwrap(), queue)
    }

    #[tokio::test]
    async fn a_hash_accepts_its_password_and_no_other() {
        let passwords = cheap(8);
        let hash = passwords.hash("correct horse").await.unwrap();
        assert!(hash.0.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{}", hash.0);
        assert!(passwords.verify("correct horse", Some(&hash)).await.unwrap());
        assert!(!passwords.verify("correct horse ", Some(&hash)).await.unwrap());
        assert!(!passwords.verify("correct horse", None).await.unwrap());
        assert_ne!(hash.0, passwords.hash("correct horse").await.unwrap().0, "salted");
    }

    #[test]
    fn the_hash_of_nobody_costs_what_a_real_one_costs() {
        let cost = Cost::new(19_456, 2).unwrap();
        let text = nobody(&cost).0;
        let hash = PasswordHash::new(&text).unwrap();
        let params = Params::try_from(&hash).unwrap();
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (19_456, 2, 1));
        assert_eq!(hash.hash.unwrap().len(), 32);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn more_callers_than_the_queue_takes_are_told_at_once() {
        let passwords = Passwords::new(Cost::new(19_456, 2).unwrap(), 1);
        let calls = (0..32).map(|_| {
            let passwords = passwords.clone();
            tokio::spawn(async move { passwords.hash("a long password").await.is_ok() })
        });
        let mut done = 0;
        for call in calls.collect::<Vec<_>>() {
            done += usize::from(call.await.unwrap());
        }
        assert!((1..32).contains(&done), "{done} of 32 were done");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_queue_of_sign_ups_leaves_the_sign_ins_theirs() {
        let sign_ins = cheap(1);
        let sign_ups = sign_ins.smaller_share(1);
        let _all = sign_ups.admitted.clone().try_acquire_many_owned(sign_ups.admitted.available_permits() as u32);
        assert!(sign_ups.hash("a long password").await.is_err());
        let hash = sign_ins.hash("a long password").await.unwrap();
        assert!(sign_ins.verify("a long password", Some(&hash)).await.unwrap());
    }
}
