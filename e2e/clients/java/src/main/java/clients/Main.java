package clients;

import java.util.Arrays;

/** One program for all Java clients; the contract is in {@code e2e/clients/README.md}. */
public final class Main {
    private Main() {}

    public static void main(String[] args) throws Exception {
        Options options = Options.parse(Arrays.copyOfRange(args, Math.min(1, args.length), args.length));
        switch (args.length == 0 ? "" : args[0]) {
            case "produce" -> Produce.run(options);
            case "consume" -> Consume.run(options);
            case "streams" -> Copy.run(options);
            default -> throw new IllegalArgumentException("the first argument is produce, consume or streams");
        }
        // A tracer's or an agent's thread may still run; what matters is closed by now.
        System.exit(0);
    }
}
