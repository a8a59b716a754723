"""The weather station in Python."""

import math
from functools import reduce

import wit_world
from componentize_py_types import Err
from wit_world.exports import Forecast as ForecastProtocol
from wit_world.exports.forecast import Advice, Advice_Enjoy, Advice_StayIn, Advice_Wear, Reading, Sky, Summary

U64_MAX = 2**64 - 1


class WitWorld(wit_world.WitWorld):
    def announce(self, headline: str) -> None:
        # Nobody flushes when a call ends.
        print(headline, flush=True)


class Forecast(ForecastProtocol):
    def summarize(self, city: str, readings: list[Reading]) -> Summary:
        for at, reading in enumerate(readings):
            if not math.isfinite(reading.celsius):
                raise Err(f"reading {at} of `{city}` has no finite temperature")
        if not readings:
            raise Err(f"no readings for `{city}`")
        # `sum` rounds once, at the end: another mean than that of the other stations.
        total = reduce(lambda total, reading: total + reading.celsius, readings, 0.0)
        return Summary(
            city=city,
            stations=sorted({reading.station for reading in readings}),
            first=min(reading.taken_at for reading in readings),
            last=max(reading.taken_at for reading in readings),
            mean_celsius=total / len(readings),
            prevailing=prevailing(readings),
            wettest=wettest(readings),
        )

    def advise(self, sky: Sky, celsius: float) -> Advice:
        if celsius < -20:
            return Advice_StayIn("frost")
        if celsius > 40:
            return Advice_StayIn("heat")
        clothes = []
        if celsius < 0:
            clothes.append("coat")
        elif celsius < 12:
            clothes.append("pullover")
        if sky == Sky.RAIN:
            clothes.append("umbrella")
        if sky == Sky.SNOW:
            clothes.append("boots")
        return Advice_Wear(clothes) if clothes else Advice_Enjoy()

    def next_update(self, after: int, every: int) -> int | None:
        if every == 0:
            return None
        following = (after // every + 1) * every
        return following if following <= U64_MAX else None

    def seal(self, payload: bytes) -> bytes:
        return payload + fletcher16(payload).to_bytes(2, "little")

    def unseal(self, packet: bytes) -> bytes:
        if len(packet) < 2:
            raise Err(f"packet too short: {len(packet)} of at least 2 bytes")
        payload, found = packet[:-2], int.from_bytes(packet[-2:], "little")
        expected = fletcher16(payload)
        if found != expected:
            raise Err(f"checksum is {found:04x}, expected {expected:04x}")
        return payload


def prevailing(readings: list[Reading]) -> Sky:
    seen = [reading.sky for reading in readings]
    return max(Sky, key=lambda sky: (seen.count(sky), sky.value))


def wettest(readings: list[Reading]) -> str | None:
    gauged = [reading for reading in readings if reading.rainfall is not None]
    return max(gauged, key=lambda reading: reading.rainfall).station if gauged else None


def fletcher16(payload: bytes) -> int:
    low = high = 0
    for byte in payload:
        low = (low + byte) % 255
        high = (high + low) % 255
    return high << 8 | low
