// An operator's SMSC that speaks SMPP 3.4, driven over stdin and stdout, one JSON object a line.
//
// in:  {"deliver": {from, to, hex, coding, esm, payload}, "name": ...}   a message of a phone; hex holds its header, too
// out: {"listening": port} {"bound": user} {"delivered": name, "status": n}
//      {"submitted": {from, to, text, coding, part: [reference, count, number], reported}}
// A number that ends in 99 is refused, one that ends in 00 is never reached.
import { createInterface } from "node:readline";
import smpp from "smpp";

const [port, user, password] = process.argv.slice(2);
const waiting = [];
let gateway;
let submitted = 0;

const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

function deliver({ name, deliver: message }) {
  const body = Buffer.from(message.hex, "hex");
  const pdu = {
    source_addr: message.from, source_addr_ton: 1, source_addr_npi: 1,
    destination_addr: message.to, data_coding: message.coding, esm_class: message.esm,
  };
  pdu[message.payload ? "message_payload" : "short_message"] = body;
  gateway.deliver_sm(pdu, (answer) => tell({ delivered: name, status: answer.command_status }));
}

function report(pdu, id) {
  const stat = pdu.destination_addr.endsWith("00") ? "UNDELIV" : "DELIVRD";
  const text = `id:${id} sub:001 dlvrd:001 submit date:2405201200 done date:2405201201 stat:${stat} err:000 text:`;
  gateway.deliver_sm({
    source_addr: pdu.destination_addr, source_addr_ton: 1, source_addr_npi: 1,
    destination_addr: pdu.source_addr, esm_class: 4, data_coding: 0, short_message: Buffer.from(text),
  });
}

function take(session, pdu) {
  if (pdu.destination_addr.endsWith("99")) {
    session.send(pdu.response({ command_status: smpp.ESME_RINVDSTADR }));
    return;
  }
  const id = `m${++submitted}`;
  const { message, udh } = pdu.short_message;
  const concatenated = (udh ?? []).find((each) => each[0] === 0);
  tell({
    submitted: {
      from: pdu.source_addr, to: pdu.destination_addr, coding: pdu.data_coding, reported: pdu.registered_delivery,
      text: Buffer.isBuffer(message) ? message.toString("latin1") : message,
      part: concatenated ? [...concatenated.subarray(2, 5)] : [0, 1, 1],
    },
  });
  session.send(pdu.response({ message_id: id }));
  if (pdu.registered_delivery & 1) {
    report(pdu, id);
  }
}

const server = smpp.createServer((session) => {
  session.on("error", () => {});
  session.on("bind_transceiver", (pdu) => {
    if (pdu.system_id !== user || pdu.password !== password) {
      session.send(pdu.response({ command_status: smpp.ESME_RBINDFAIL }));
      return;
    }
    gateway = session;
    session.send(pdu.response({ system_id: "SMSC" }));
    tell({ bound: user });
    waiting.splice(0).forEach(deliver);
  });
  session.on("enquire_link", (pdu) => session.send(pdu.response()));
  session.on("unbind", (pdu) => session.send(pdu.response()));
  session.on("submit_sm", (pdu) => take(session, pdu));
});

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const asked = JSON.parse(line);
    gateway ? deliver(asked) : waiting.push(asked);
  })
  .on("close", () => process.exit(0));

server.listen(Number(port), "127.0.0.1", () => tell({ listening: Number(port) }));
