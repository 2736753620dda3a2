package eshop;

import java.util.concurrent.ThreadLocalRandom;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.stereotype.Component;

/** Simulated work. */
@Component
class RandomDelay {
    @Value("${max-delay-ms:100}")
    private long maxMillis;

    /** Sleeps between zero and the maximum delay. */
    void sleep() throws InterruptedException {
        Thread.sleep(ThreadLocalRandom.current().nextLong(maxMillis + 1));
    }
}
