//! Payments by `auth-capture`: a world whose facilitator holds money in escrow, a shop that sells that way, and where the
//! money of a payment is.

use devnet::{
    AUTH_CAPTURE_V10, AUTH_CAPTURE_V11, Account, AuthCapture, FeeForm, Npm, PERMIT2, PaymentInfo, USDC,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::http::{Client, Reply};
use crate::shop::{Seller, buy_up_to};
use crate::world::Builder;
use crate::{Error, World, wait};

/// The shop's name and key at the facilitator, and those of another tenant there.
pub const SHOP: &str = "shop";
pub const SHOP_KEY: &str = "key-of-the-shop";
pub const STRANGER_KEY: &str = "key-of-a-stranger";
/// Takes the fees.
pub const FEE_RECEIVER: &str = "0x4444444444444444444444444444444444444444";
/// One percent, of every capture and charge.
pub const FEE_BPS: u128 = 100;
/// One dollar.
pub const PRICE: u128 = 1_000_000;
/// What refunds are paid from.
pub const OPERATOR_TOKENS: u128 = 100_000_000;
/// Whose orders count; a public test key.
pub const AUTHORIZER_KEY: &str = "0x2222222222222222222222222222222222222222222222222222222222222222";

/// Refunds of these payments are paid by the facilitator's signer, as long as the merchant is the one of the dev chain.
#[must_use]
pub fn refunds(merchant: &str) -> String {
    format!(
        "[[plugin.auth-capture.config.refund_funding]]\ntenant = {SHOP:?}\nreceiver = {merchant:?}\n\
         network = \"eip155:84532\"\nasset = {USDC:?}\nmax_per_day = \"1000000000\"\n"
    )
}

/// The facilitator gives orders for the shop, which speaks for this merchant. The address names the facilitator in the
/// salt; nothing is signed with its key. A table: plain settings go before it.
#[must_use]
pub fn delegated(merchant: &str) -> String {
    format!(
        "[plugin.auth-capture.config.delegated_authorizer]\naddress = \"0x00000000000000000000000000000000000A0701\"\n\
         receivers = [{{ tenant = {SHOP:?}, receiver = {merchant:?} }}]\n"
    )
}

/// What follows a capture comes soon, and tests may move the clock.
pub const NETWORK_LINES: &str = "finality = 2\noptions = { max_clock_skew_s = 0, max_head_age_s = 0 }";

/// A world with the plugin, and two tenants. `config`: lines of TOML for the plugin.
#[must_use]
pub fn world(config: &str) -> Builder {
    let tenant = |name: &str, key: &str| {
        let hash = hex::encode(Sha256::digest(key));
        format!("[[tenants]]\nname = {name:?}\nkey_sha256 = {hash:?}\n")
    };
    let tenants = [tenant(SHOP, SHOP_KEY), tenant("stranger", STRANGER_KEY)];
    World::builder()
        .auth_capture(config)
        .more(&tenants.concat())
        .network(NETWORK_LINES)
}

/// Gives the operator what refunds cost, and every buyer's permission to Permit2.
///
/// # Panics
/// When the node does not answer.
pub fn fund(world: &World) {
    let (chain, operator) = (&world.chain, &world.chain.facilitators[0].address);
    chain.mint(USDC, operator, OPERATOR_TOKENS).expect("minted");
    for deployment in [AUTH_CAPTURE_V11, AUTH_CAPTURE_V10] {
        let collector = deployment.operator_refund_collector;
        chain
            .set_allowance(USDC, operator, collector, OPERATOR_TOKENS)
            .expect("allowed");
    }
    for buyer in &chain.buyers {
        chain
            .set_allowance(USDC, &buyer.address, PERMIT2, u128::MAX)
            .expect("allowed");
    }
}

/// Who has how much of the dollar, in atomic units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money {
    pub payer: i128,
    pub merchant: i128,
    pub fees: i128,
    pub held: i128,
    pub operator: i128,
}

impl Money {
    /// # Panics
    /// When the node does not answer.
    #[must_use]
    pub fn of(world: &World, deployment: &AuthCapture, payer: &str) -> Money {
        let chain = &world.chain;
        let operator = &chain.facilitators[0].address;
        let store = chain.token_store(deployment, operator).expect("the node answers");
        let units = |holder: &str| i128::try_from(world.balance(holder)).expect("fits");
        Money {
            payer: units(payer),
            merchant: units(&chain.merchant.address),
            fees: units(FEE_RECEIVER),
            held: units(&store),
            operator: units(operator),
        }
    }

    /// What moved since then.
    #[must_use]
    pub fn since(self, before: Money) -> Money {
        Money {
            payer: self.payer - before.payer,
            merchant: self.merchant - before.merchant,
            fees: self.fees - before.fees,
            held: self.held - before.held,
            operator: self.operator - before.operator,
        }
    }
}

/// A shop that sells by `auth-capture`, with the official buyer as its customer.
#[derive(Debug)]
pub struct Shop {
    npm: Npm,
    seller: Seller,
    client: Client,
    pub deployment: AuthCapture,
}

/// A payment that the shop knows.
#[derive(Debug, Clone)]
pub struct Held {
    /// The payment-info hash.
    pub hash: String,
    pub info: PaymentInfo,
}

impl Shop {
    /// Opens a shop with fees of one percent. `environment`: what the head of `auth-capture-seller.mjs` describes.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn open(world: &World, deployment: AuthCapture, environment: &[(&str, &str)]) -> Shop {
        let bps = FEE_BPS.to_string();
        let fees = [
            ("FEE_RECIPIENT", FEE_RECEIVER),
            ("MIN_FEE_BPS", &bps),
            ("MAX_FEE_BPS", &bps),
            ("FACILITATOR_TOKEN", SHOP_KEY),
        ];
        let npm = Npm::ensure().expect("the packages are installed");
        let (url, merchant) = (world.facilitator.url(), &world.chain.merchant.address);
        Shop::start(
            &npm,
            &url,
            merchant,
            deployment,
            &[&fees[..], environment].concat(),
        )
        .unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same without fees, at any facilitator.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(
        npm: &Npm,
        facilitator: &str,
        merchant: &str,
        deployment: AuthCapture,
        environment: &[(&str, &str)],
    ) -> Result<Shop, Error> {
        let version = match deployment.fee_form {
            FeeForm::Bps => "v1.0",
            FeeForm::Amount => "v1.1",
        };
        let price = PRICE.to_string();
        let mut all = vec![
            ("DEPLOYMENT", version),
            ("PRICE", &price),
            ("CAPTURE_WINDOW", "3600"),
            ("REFUND_WINDOW", "7200"),
        ];
        all.extend(environment);
        let seller = Seller::start_holding(npm, facilitator, merchant, &all)?;
        let client = Client::new(&seller.address);
        Ok(Shop {
            npm: npm.clone(),
            seller,
            client,
            deployment,
        })
    }

    /// What costs money.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.seller.resource
    }

    /// Lets the buyer fetch what costs money: what the buyer's script reports. `query`: of the URL, with its `?`.
    ///
    /// # Errors
    /// When no HTTP answer arrived.
    pub fn buy(&self, buyer: &Account, query: &str) -> Result<Value, Error> {
        let url = format!("{}{query}", self.seller.resource);
        buy_up_to(&self.npm, &buyer.key, "2", &url)
    }

    /// A purchase that must succeed: the payment that came of it.
    ///
    /// # Panics
    /// When the buyer does not get what it paid for.
    #[track_caller]
    #[must_use]
    pub fn sell(&self, buyer: &Account, query: &str) -> Held {
        let report = self.buy(buyer, query).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (report["status"].as_u64(), &report["payment"]["success"]),
            (Some(200), &Value::Bool(true)),
            "{report}"
        );
        self.newest()
    }

    /// The payment that was made last.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn newest(&self) -> Held {
        let payments = self.client.get("/payments").expect("the shop answers").json;
        let record = payments.as_array().and_then(|all| all.last()).expect("a payment");
        Held {
            hash: record["hash"].as_str().expect("a hash").to_owned(),
            info: PaymentInfo::from_json(&record["paymentInfo"]).expect("a payment's terms"),
        }
    }

    /// Gives an order about a payment (`capture`, `void`, `refund`): the facilitator's reply.
    ///
    /// # Panics
    /// When the shop can't give it.
    #[track_caller]
    #[must_use]
    pub fn order(&self, held: &Held, what: &str, body: &Value) -> Value {
        let answer = self.post(held, what, body);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json["reply"].clone()
    }

    /// The body of a settle that would give the order.
    ///
    /// # Panics
    /// When the shop can't make it.
    #[track_caller]
    #[must_use]
    pub fn draft(&self, held: &Held, what: &str, mut body: Value) -> Value {
        body["draft"] = json!(true);
        let answer = self.post(held, what, &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json
    }

    fn post(&self, held: &Held, what: &str, body: &Value) -> Reply {
        let path = format!("/payments/{}/{what}", held.hash);
        self.client
            .post(&path, body.to_string().as_bytes(), &[])
            .expect("the shop answers")
    }
}

/// Posts to the facilitator with a tenant's key.
///
/// # Panics
/// Without an answer.
#[track_caller]
#[must_use]
pub fn post(world: &World, path: &str, body: &Value, key: &str) -> Reply {
    try_post(world, path, body, key).expect("an answer")
}

/// The same of a facilitator that may die meanwhile.
///
/// # Errors
/// Without an answer.
pub fn try_post(world: &World, path: &str, body: &Value, key: &str) -> Result<Reply, Error> {
    let value = format!("Bearer {key}");
    let headers = [("authorization", value.as_str())];
    world
        .facilitator
        .client()
        .post(path, body.to_string().as_bytes(), &headers)
}

/// The payer reclaims what the escrow holds: whether it gets it.
///
/// # Panics
/// When the node does not answer.
#[must_use]
pub fn reclaims(world: &World, deployment: &AuthCapture, info: &PaymentInfo) -> bool {
    let receipt = world.chain.reclaim(deployment, info).expect("the node answers");
    receipt["status"] == "0x1"
}

/// Waits until the escrow shows these amounts, after two more blocks: what follows a capture waits until that is final.
/// Not more of them, because every block moves the chain's clock by a second.
///
/// # Panics
/// When it never does.
#[track_caller]
pub fn wait_state(world: &World, deployment: &AuthCapture, hash: &str, capturable: u128, refundable: u128) {
    world.chain.mine(2).expect("mines");
    let what = format!("{capturable} held and {refundable} captured of {hash}");
    wait::until(&what, wait::LONG, || {
        let state = world
            .chain
            .payment_state(deployment, hash)
            .expect("the node answers");
        ((state.capturable, state.refundable) == (capturable, refundable)).then_some(())
    });
}
