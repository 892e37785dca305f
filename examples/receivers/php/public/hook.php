<?php
// The page that Ringback posts to. It only writes down what came; work.php does the rest.
declare(strict_types=1);

require __DIR__ . '/../ringback.php';

http_response_code(500); // Until all has gone well; PHP itself may answer 200 after an error.
$body = (string) file_get_contents('php://input'); // The bytes as they came; $_POST would not do.
if (!verified($body)) {
    http_response_code(400);
    return;
}
$event = json_decode($body, true, flags: JSON_THROW_ON_ERROR);
if (in_array($event['type'], KNOWN, true)) {
    record(database(), $_SERVER['HTTP_WEBHOOK_ID'], $event['data']);
}
http_response_code(204);
