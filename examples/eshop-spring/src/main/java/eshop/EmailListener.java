package eshop;

import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.Profile;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.listener.ConsumerSeekAware;
import org.springframework.stereotype.Component;
import org.springframework.web.client.RestTemplate;

/** kafka-consumer: calls notification to send an e-mail for each record of the topic. */
@Component
@Profile("kafka-consumer")
class EmailListener implements ConsumerSeekAware {
    private final RestTemplate restTemplate;
    private final CountDownLatch assigned = new CountDownLatch(1);

    @Value("${notification:http://notification:8080}")
    private String notification;

    EmailListener(RestTemplate restTemplate) {
        this.restTemplate = restTemplate;
    }

    @KafkaListener(topics = "${topic:eshop-topic}")
    void receiveMessage(ConsumerRecord<String, String> record) {
        String url = Reference.url(notification, "sendEmail", record.key());
        restTemplate.getForEntity(url, String.class);
    }

    @Override
    public void onPartitionsAssigned(
            Map<TopicPartition, Long> partitions, ConsumerSeekCallback callback) {
        // A member without partitions receives nothing until the next rebalance.
        if (!partitions.isEmpty()) {
            assigned.countDown();
        }
    }

    /** Waits until the broker has assigned partitions. */
    void awaitAssignment() {
        try {
            assigned.await();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
