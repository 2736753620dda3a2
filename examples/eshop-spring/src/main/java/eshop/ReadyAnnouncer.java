package eshop;

import org.springframework.beans.factory.ObjectProvider;
import org.springframework.boot.ApplicationArguments;
import org.springframework.boot.ApplicationRunner;
import org.springframework.core.env.Environment;
import org.springframework.stereotype.Component;

/** Prints the line that the process which started this one waits for. */
@Component
class ReadyAnnouncer implements ApplicationRunner {
    private final Environment environment;
    private final ObjectProvider<EmailListener> listener;

    ReadyAnnouncer(Environment environment, ObjectProvider<EmailListener> listener) {
        this.environment = environment;
        this.listener = listener;
    }

    @Override
    public void run(ApplicationArguments args) {
        // A consumer is ready once it has partitions.
        listener.ifAvailable(EmailListener::awaitAssignment);
        String address = environment.getProperty("server.address", "0.0.0.0");
        String port = environment.getProperty("local.server.port");
        System.out.println("listening on http://" + address + ":" + port);
    }
}
