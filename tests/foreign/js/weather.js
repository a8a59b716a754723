// The weather station in JavaScript.

const SKIES = ["clear", "cloudy", "rain", "snow"];
const U64_MAX = 2n ** 64n - 1n;

export const forecast = {
  summarize(city, readings) {
    const broken = readings.findIndex(({ celsius }) => !Number.isFinite(celsius));
    if (broken >= 0) fail(`reading ${broken} of \`${city}\` has no finite temperature`);
    if (readings.length === 0) fail(`no readings for \`${city}\``);

    const times = readings.map(({ takenAt }) => takenAt);
    return {
      city,
      stations: [...new Set(readings.map(({ station }) => station))].sort(),
      first: times.reduce((a, b) => (b < a ? b : a)),
      last: times.reduce((a, b) => (b > a ? b : a)),
      meanCelsius: readings.reduce((total, { celsius }) => total + celsius, 0) / readings.length,
      prevailing: prevailing(readings),
      wettest: wettest(readings),
    };
  },

  advise(sky, celsius) {
    if (celsius < -20) return { tag: "stay-in", val: "frost" };
    if (celsius > 40) return { tag: "stay-in", val: "heat" };
    const clothes = [];
    if (celsius < 0) clothes.push("coat");
    else if (celsius < 12) clothes.push("pullover");
    if (sky === "rain") clothes.push("umbrella");
    if (sky === "snow") clothes.push("boots");
    return clothes.length > 0 ? { tag: "wear", val: clothes } : { tag: "enjoy" };
  },

  nextUpdate(after, every) {
    if (every === 0n) return undefined;
    const next = (after / every + 1n) * every;
    return next <= U64_MAX ? next : undefined;
  },

  seal(payload) {
    const sum = fletcher16(payload);
    return Uint8Array.of(...payload, sum & 0xff, sum >> 8);
  },

  unseal(packet) {
    if (packet.length < 2) fail(`packet too short: ${packet.length} of at least 2 bytes`);
    const [low, high] = packet.slice(-2);
    const payload = packet.slice(0, -2);
    const found = (high << 8) | low;
    const expected = fletcher16(payload);
    if (found !== expected) fail(`checksum is ${hex(found)}, expected ${hex(expected)}`);
    return payload;
  },
};

export function announce(headline) {
  console.log(headline);
}

// What a thrown error has as `payload` becomes the error of the WIT function.
function fail(payload) {
  throw Object.assign(new Error(payload), { payload });
}

function prevailing(readings) {
  const seen = (wanted) => readings.filter(({ sky }) => sky === wanted).length;
  return SKIES.reduce((most, each) => (seen(each) >= seen(most) ? each : most));
}

function wettest(readings) {
  const gauged = readings.filter(({ rainfall }) => rainfall !== undefined);
  if (gauged.length === 0) return undefined;
  return gauged.reduce((most, each) => (each.rainfall > most.rainfall ? each : most)).station;
}

function fletcher16(bytes) {
  let low = 0;
  let high = 0;
  for (const byte of bytes) {
    low = (low + byte) % 255;
    high = (high + low) % 255;
  }
  return (high << 8) | low;
}

function hex(sum) {
  return sum.toString(16).padStart(4, "0");
}
