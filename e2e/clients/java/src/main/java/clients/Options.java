package clients;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;

/** The command line: {@code --name value}, always in pairs. */
final class Options {
    private final Map<String, String> values;

    private Options(Map<String, String> values) {
        this.values = values;
    }

    static Options parse(String[] args) {
        Map<String, String> values = new HashMap<>();
        for (int at = 0; at < args.length; at += 2) {
            if (!args[at].startsWith("--") || at + 1 == args.length) {
                throw new IllegalArgumentException("options are --name value, not " + args[at]);
            }
            values.put(args[at].substring(2), args[at + 1]);
        }
        return new Options(values);
    }

    String get(String name) {
        String value = values.get(name);
        if (value == null) {
            throw new IllegalArgumentException("--" + name + " is missing");
        }
        return value;
    }

    String get(String name, String otherwise) {
        return values.getOrDefault(name, otherwise);
    }

    int number(String name, int otherwise) {
        return Integer.parseInt(get(name, Integer.toString(otherwise)));
    }

    boolean is(String name) {
        return get(name, "false").equals("true");
    }

    /** Returns the connection properties of every client: brokers, security, client id. */
    Properties connection() throws IOException {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", get("bootstrap"));
        if (values.containsKey("client-id")) {
            properties.put("client.id", get("client-id"));
        }
        String security = get("security", "plaintext").toUpperCase();
        properties.put("security.protocol", security);
        if (security.startsWith("SASL")) {
            String mechanism = get("mechanism");
            String module =
                mechanism.equals("PLAIN") ? "plain.PlainLoginModule" : "scram.ScramLoginModule";
            properties.put("sasl.mechanism", mechanism);
            properties.put("sasl.jaas.config", String.format(
                "org.apache.kafka.common.security.%s required username=\"%s\" password=\"%s\";",
                module, get("username"), get("password")));
        }
        if (security.endsWith("SSL")) {
            properties.put("ssl.truststore.type", "PEM");
            properties.put("ssl.truststore.location", get("ca"));
            if (values.containsKey("cert")) {
                properties.put("ssl.keystore.type", "PEM");
                String chain = Files.readString(Path.of(get("cert")));
                properties.put("ssl.keystore.certificate.chain", chain);
                properties.put("ssl.keystore.key", Files.readString(Path.of(get("key"))));
            }
        }
        return properties;
    }
}
