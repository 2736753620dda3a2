package clients;

import java.util.Arrays;

/** One program for all Java clients; the contract is in {@code e2e/clients/README.md}. */
public final class Main {
    private Main() {}

    public static void main(String[] args) throws Exception {
        int first = Math.min(1, args.length);
        Options options = Options.parse(Arrays.copyOfRange(args, first, args.length));
        switch (args.length == 0 ? "" : args[0]) {
            case "produce" -> {
                Lines lines = new Lines(options);
                Produce.run(options, lines, Tracing.of(options, lines)::producer);
            }
            case "consume" -> Consume.run(options);
            case "streams" -> Copy.run(options);
            default -> throw new IllegalArgumentException(
                "unknown command: use produce, consume or streams");
        }
        // Threads of a tracer or an agent may keep the JVM alive; all clients are closed by now.
        System.exit(0);
    }
}
