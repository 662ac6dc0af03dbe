//! An EVM node that answers every call the same way, after a fixed time.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Failure;
use super::payment::ASSET;

const WORD: &str = "0x0000000000000000000000000000000000000000000000000000000000000000";
/// Base Sepolia.
const CHAIN_ID: &str = "0x14a34";

pub(crate) fn start(latency: Duration) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                // Ends when the facilitator closes the connection.
                let _ = serve(stream, latency);
            });
        }
    });
    Ok(address)
}

fn serve(stream: TcpStream, latency: Duration) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let answer = match serde_json::from_slice(&body)? {
            Value::Array(calls) => Value::Array(calls.iter().map(answer).collect()),
            call => answer(&call),
        };
        std::thread::sleep(latency);
        let answer = serde_json::to_string(&answer)?;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        stream.get_mut().write_all((head + &answer).as_bytes())?;
    }
}

fn answer(call: &Value) -> Value {
    let first = call["params"][0].as_str().unwrap_or_default();
    let result = match call["method"].as_str().unwrap_or_default() {
        "eth_chainId" => json!(CHAIN_ID),
        "eth_getBlockByNumber" => block(),
        "eth_getCode" if first.eq_ignore_ascii_case(ASSET) => json!("0x6000"),
        "eth_getCode" => json!("0x"),
        "eth_getBalance" => json!("0xde0b6b3a7640000"),
        "eth_getTransactionCount" => json!("0x0"),
        "eth_estimateGas" => json!("0x15000"),
        "eth_gasPrice" | "eth_maxPriorityFeePerGas" => json!("0x3b9aca00"),
        "eth_blockNumber" => json!("0x1000"),
        "eth_call" => json!(WORD),
        _ => {
            return json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32601, "message": "method not found"}});
        }
    };
    json!({"jsonrpc": "2.0", "id": call["id"], "result": result})
}

fn block() -> Value {
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    json!({"number": "0x1000", "hash": WORD, "parentHash": WORD, "timestamp": format!("{now_s:#x}"),
        "baseFeePerGas": "0x3b9aca00", "gasLimit": "0x1c9c380", "gasUsed": "0x0", "transactions": []})
}
