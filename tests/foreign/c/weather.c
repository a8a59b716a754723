// The weather station in C: clang, wasi-libc and the canonical ABI by hand.
//
// The structs below lie in memory as the canonical ABI lays out the types of ../wit/weather.wit; the assertions after
// them say so. Memory of an argument belongs to the callee, memory of a result to the caller until `cabi_post_…`.

#define _GNU_SOURCE // for vasprintf

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT(name) __attribute__((export_name(name)))
#define FORECAST(name) EXPORT("acme:weather/forecast@1.0.0#" name)
#define AFTER_FORECAST(name) EXPORT("cabi_post_acme:weather/forecast@1.0.0#" name)

typedef struct {
    uint8_t *data;
    size_t length;
} bytes;

typedef bytes string;

typedef struct {
    string *data;
    size_t length;
} strings;

typedef uint8_t sky;
enum { CLEAR, CLOUDY, RAIN, SNOW, SKIES };

typedef struct {
    bool is_some;
    uint32_t value;
} option_u32;

typedef struct {
    bool is_some;
    uint64_t value;
} option_u64;

typedef struct {
    bool is_some;
    string value;
} option_string;

typedef struct {
    string station;
    uint64_t taken_at;
    double celsius;
    sky sky;
    option_u32 rainfall;
} reading;

typedef struct {
    string city;
    strings stations;
    uint64_t first;
    uint64_t last;
    double mean_celsius;
    sky prevailing;
    option_string wettest;
} summary;

typedef struct {
    bool is_err;
    union {
        summary ok;
        string err;
    };
} summary_result;

typedef struct {
    bool is_err;
    union {
        bytes ok;
        string err;
    };
} bytes_result;

enum { STAY_IN, ENJOY, WEAR };

typedef struct {
    uint8_t which;
    union {
        string stay_in;
        strings wear;
    };
} advice;

_Static_assert(sizeof(reading) == 40 && offsetof(reading, rainfall) == 28, "layout of `reading`");
_Static_assert(sizeof(summary) == 56 && offsetof(summary, wettest) == 44, "layout of `summary`");
_Static_assert(sizeof(summary_result) == 64 && offsetof(summary_result, ok) == 8, "layout of `result<summary, string>`");
_Static_assert(sizeof(bytes_result) == 12 && offsetof(bytes_result, ok) == 4, "layout of `result<list<u8>, string>`");
_Static_assert(sizeof(advice) == 12 && offsetof(advice, wear) == 4, "layout of `advice`");
_Static_assert(sizeof(option_u64) == 16 && offsetof(option_u64, value) == 8, "layout of `option<u64>`");

// Memory. What has no bytes has an aligned address all the same, and is never freed.

EXPORT("cabi_realloc")
void *cabi_realloc(void *old, size_t old_size, size_t alignment, size_t size) {
    if (size == 0) return (void *)alignment;
    void *new = realloc(old_size == 0 ? NULL : old, size);
    if (new == NULL) __builtin_trap();
    return new;
}

static void *allocate(size_t size) { return cabi_realloc(NULL, 0, _Alignof(max_align_t), size); }

static void release(void *data, size_t length) {
    if (length != 0) free(data);
}

static void release_string(string text) { release(text.data, text.length); }

static void release_strings(strings list) {
    for (size_t i = 0; i < list.length; i++) release_string(list.data[i]);
    release(list.data, list.length);
}

static bytes copy(const void *data, size_t length) {
    bytes result = {allocate(length), length};
    memcpy(result.data, data, length);
    return result;
}

static string text(const char *terminated) { return copy(terminated, strlen(terminated)); }

__attribute__((format(printf, 1, 2)))
static string format(const char *pattern, ...) {
    char *printed;
    va_list arguments;
    va_start(arguments, pattern);
    int length = vasprintf(&printed, pattern, arguments);
    va_end(arguments);
    if (length < 0) __builtin_trap();
    return (string){(uint8_t *)printed, length};
}

// summarize: func(city: string, readings: list<reading>) -> result<summary, string>

static int compare(const void *left, const void *right) {
    const string *a = left, *b = right;
    int order = memcmp(a->data, b->data, a->length < b->length ? a->length : b->length);
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

// Takes the names out of the readings: each ends up in the list, or is released.
static strings take_stations(reading *readings, size_t count) {
    strings all = {allocate(count * sizeof(string)), 0};
    for (size_t i = 0; i < count; i++) all.data[i] = readings[i].station;
    qsort(all.data, count, sizeof(string), compare);
    for (size_t i = 0; i < count; i++) {
        bool repeated = all.length > 0 && compare(&all.data[all.length - 1], &all.data[i]) == 0;
        if (repeated)
            release_string(all.data[i]);
        else
            all.data[all.length++] = all.data[i];
    }
    return all;
}

static sky prevailing(const reading *readings, size_t count) {
    size_t seen[SKIES] = {0};
    for (size_t i = 0; i < count; i++) seen[readings[i].sky]++;
    sky most = CLEAR;
    for (sky each = CLEAR; each < SKIES; each++)
        if (seen[each] >= seen[most]) most = each;
    return most;
}

static option_string wettest(const reading *readings, size_t count) {
    const reading *most = NULL;
    for (const reading *each = readings; each < readings + count; each++)
        if (each->rainfall.is_some && (most == NULL || each->rainfall.value > most->rainfall.value)) most = each;
    if (most == NULL) return (option_string){.is_some = false};
    return (option_string){.is_some = true, .value = copy(most->station.data, most->station.length)};
}

// Gives the reason why these readings cannot be summarized, or nothing.
static option_string complaint(string city, const reading *readings, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!isfinite(readings[i].celsius)) {
            string reason = format("reading %zu of `%.*s` has no finite temperature", i, (int)city.length, city.data);
            return (option_string){.is_some = true, .value = reason};
        }
    if (count == 0)
        return (option_string){true, format("no readings for `%.*s`", (int)city.length, city.data)};
    return (option_string){.is_some = false};
}

FORECAST("summarize")
summary_result *summarize(uint8_t *city_data, size_t city_length, reading *readings, size_t count) {
    static summary_result result;
    string city = {city_data, city_length};
    option_string reason = complaint(city, readings, count);
    result.is_err = reason.is_some;
    if (reason.is_some) {
        result.err = reason.value;
        release_string(city);
        for (size_t i = 0; i < count; i++) release_string(readings[i].station);
    } else {
        summary *ok = &result.ok;
        *ok = (summary){.city = city, .first = UINT64_MAX, .last = 0};
        for (size_t i = 0; i < count; i++) {
            if (readings[i].taken_at < ok->first) ok->first = readings[i].taken_at;
            if (readings[i].taken_at > ok->last) ok->last = readings[i].taken_at;
            ok->mean_celsius += readings[i].celsius;
        }
        ok->mean_celsius /= count;
        ok->prevailing = prevailing(readings, count);
        ok->wettest = wettest(readings, count);
        ok->stations = take_stations(readings, count);
    }
    release(readings, count);
    return &result;
}

AFTER_FORECAST("summarize")
void after_summarize(summary_result *result) {
    if (result->is_err) {
        release_string(result->err);
    } else {
        release_string(result->ok.city);
        release_strings(result->ok.stations);
        if (result->ok.wettest.is_some) release_string(result->ok.wettest.value);
    }
}

// advise: func(sky: sky, celsius: f64) -> advice

FORECAST("advise")
advice *advise(uint32_t sky, double celsius) {
    static advice result;
    string clothes[2];
    size_t count = 0;
    if (celsius < -20.0 || celsius > 40.0) {
        result.which = STAY_IN;
        result.stay_in = text(celsius < 0.0 ? "frost" : "heat");
        return &result;
    }
    if (celsius < 0.0)
        clothes[count++] = text("coat");
    else if (celsius < 12.0)
        clothes[count++] = text("pullover");
    if (sky == RAIN) clothes[count++] = text("umbrella");
    if (sky == SNOW) clothes[count++] = text("boots");
    result.which = count == 0 ? ENJOY : WEAR;
    result.wear = (strings){(string *)copy(clothes, count * sizeof(string)).data, count};
    return &result;
}

AFTER_FORECAST("advise")
void after_advise(advice *result) {
    if (result->which == STAY_IN) release_string(result->stay_in);
    if (result->which == WEAR) release_strings(result->wear);
}

// next-update: func(after: u64, every: u64) -> option<u64>

FORECAST("next-update")
option_u64 *next_update(uint64_t after, uint64_t every) {
    static option_u64 result;
    result.is_some = every != 0 && !__builtin_add_overflow(after - after % every, every, &result.value);
    return &result;
}

// seal: func(payload: list<u8>) -> list<u8>
// unseal: func(packet: list<u8>) -> result<list<u8>, string>

static uint16_t fletcher16(const uint8_t *data, size_t length) {
    uint16_t low = 0, high = 0;
    for (size_t i = 0; i < length; i++) {
        low = (low + data[i]) % 255;
        high = (high + low) % 255;
    }
    return high << 8 | low;
}

FORECAST("seal")
bytes *seal(uint8_t *payload, size_t length) {
    static bytes result;
    uint16_t sum = fletcher16(payload, length);
    result.length = length + 2;
    result.data = cabi_realloc(payload, length, 1, result.length);
    result.data[length] = sum & 0xff;
    result.data[length + 1] = sum >> 8;
    return &result;
}

AFTER_FORECAST("seal")
void after_seal(bytes *result) { release(result->data, result->length); }

FORECAST("unseal")
bytes_result *unseal(uint8_t *packet, size_t length) {
    static bytes_result result;
    result.is_err = true;
    if (length < 2) {
        result.err = format("packet too short: %zu of at least 2 bytes", length);
    } else {
        uint16_t found = packet[length - 1] << 8 | packet[length - 2];
        uint16_t expected = fletcher16(packet, length - 2);
        result.is_err = found != expected;
        if (result.is_err)
            result.err = format("checksum is %04x, expected %04x", found, expected);
        else
            result.ok = copy(packet, length - 2);
    }
    release(packet, length);
    return &result;
}

AFTER_FORECAST("unseal")
void after_unseal(bytes_result *result) { release(result->ok.data, result->ok.length); }

// announce: func(headline: string)

EXPORT("announce")
void announce(uint8_t *headline, size_t length) {
    fwrite(headline, 1, length, stdout);
    putchar('\n');
    fflush(stdout);
    release(headline, length);
}
