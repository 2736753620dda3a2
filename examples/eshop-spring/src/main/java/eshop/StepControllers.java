package eshop;

import org.springframework.context.annotation.Profile;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** The services that work for a while and respond. */
final class StepControllers {
    private StepControllers() {}

    @RestController
    @Profile("inventory")
    static class Inventory {
        private final RandomDelay work;

        Inventory(RandomDelay work) {
            this.work = work;
        }

        @GetMapping("/createOrder")
        String createOrder() throws InterruptedException {
            work.sleep();
            return "Your order has been created!";
        }
    }

    @RestController
    @Profile("billing")
    static class Billing {
        private final RandomDelay work;

        Billing(RandomDelay work) {
            this.work = work;
        }

        /** A bank transfer, then a write to the database. */
        @GetMapping("/payment")
        String payment() throws InterruptedException {
            work.sleep();
            work.sleep();
            return "Your order has been paid!";
        }
    }

    @RestController
    @Profile("delivery")
    static class Delivery {
        private final RandomDelay work;

        Delivery(RandomDelay work) {
            this.work = work;
        }

        @GetMapping("/arrangeDelivery")
        String arrangeDelivery() throws InterruptedException {
            work.sleep();
            return "Your order is on the way!";
        }
    }

    @RestController
    @Profile("notification")
    static class Notification {
        private final RandomDelay work;

        Notification(RandomDelay work) {
            this.work = work;
        }

        @GetMapping("/sendEmail")
        String sendEmail() throws InterruptedException {
            work.sleep();
            return "Email sent out!";
        }
    }
}
