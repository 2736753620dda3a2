package eshop;

import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.Profile;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.client.RestTemplate;

/** eshop: a checkout calls three services in turn and sends a record without waiting for it. */
@RestController
@Profile("eshop")
class CheckoutController {
    private final RestTemplate restTemplate;
    private final KafkaTemplate<String, String> kafkaTemplate;

    @Value("${inventory:http://inventory:8080}")
    private String inventory;

    @Value("${billing:http://billing:8080}")
    private String billing;

    @Value("${delivery:http://delivery:8080}")
    private String delivery;

    @Value("${topic:eshop-topic}")
    private String topic;

    CheckoutController(RestTemplate restTemplate, KafkaTemplate<String, String> kafkaTemplate) {
        this.restTemplate = restTemplate;
        this.kafkaTemplate = kafkaTemplate;
    }

    @GetMapping("/checkout")
    String checkout(@RequestParam(required = false) String reference) {
        String result = get(inventory, "createOrder", reference);
        result += "<BR>" + get(billing, "payment", reference);
        result += "<BR>" + get(delivery, "arrangeDelivery", reference);
        kafkaTemplate.send(topic, Reference.derive(reference, topic), "send email confirmation");
        return result;
    }

    private String get(String service, String step, String reference) {
        return restTemplate.getForObject(Reference.url(service, step, reference), String.class);
    }
}
