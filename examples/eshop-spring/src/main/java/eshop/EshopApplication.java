package eshop;

import java.util.ArrayList;
import java.util.List;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.web.client.RestTemplate;

/**
 * The six services of the article in one jar, started as {@code eshop-spring.jar SERVICE}. The
 * options are those of the eshop in Rust: {@code --listen}, {@code --kafka}, {@code --inventory}
 * and so on. Nothing here traces.
 */
@SpringBootApplication
public class EshopApplication {
    public static void main(String[] args) {
        SpringApplication application = new SpringApplication(EshopApplication.class);
        // Each service is a profile, so that one jar has the code of all.
        application.setAdditionalProfiles(args[0]);
        application.run(springOptions(args));
    }

    @Bean
    RestTemplate restTemplate() {
        return new RestTemplate();
    }

    /** Returns `--name value` as `--name=value`, which Spring reads. */
    private static String[] springOptions(String[] args) {
        List<String> options = new ArrayList<>();
        for (int i = 1; i + 1 < args.length; i += 2) {
            if (args[i].equals("--listen")) {
                // The last colon: an IPv6 address has colons of its own.
                int colon = args[i + 1].lastIndexOf(':');
                options.add("--server.address=" + args[i + 1].substring(0, colon));
                options.add("--server.port=" + args[i + 1].substring(colon + 1));
            } else {
                options.add(args[i] + "=" + args[i + 1]);
            }
        }
        return options.toArray(new String[0]);
    }
}
