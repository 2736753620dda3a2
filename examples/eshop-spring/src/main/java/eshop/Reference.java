package eshop;

import java.nio.charset.StandardCharsets;

/**
 * References: every message of a checkout carries a value of its own, derived from the one before,
 * as in the eshop in Rust. A test that knows the first one knows all; no two messages share one.
 */
final class Reference {
    private static final long OFFSET_BASIS = 0xcbf29ce484222325L;
    private static final long PRIME = 0x100000001b3L;

    private Reference() {}

    /** Returns the reference of the next step, 64 bits of FNV-1a in hex; null without reference. */
    static String derive(String reference, String step) {
        if (reference == null) {
            return null;
        }
        long hash = OFFSET_BASIS;
        for (byte octet : (reference + "/" + step).getBytes(StandardCharsets.UTF_8)) {
            hash = (hash ^ (octet & 0xff)) * PRIME;
        }
        return String.format("%016x", hash);
    }

    /** Returns the URL of a call for this reference, or the plain URL without one. */
    static String url(String service, String step, String reference) {
        String url = service + "/" + step;
        return reference == null ? url : url + "?reference=" + derive(reference, step);
    }
}
